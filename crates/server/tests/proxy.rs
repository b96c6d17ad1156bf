//! Behind a proxy: whose address counts, and cookies that never go without TLS. And what anybody can put into the metrics.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use crate::common::{Running, start, start_with_keys};

fn login(server: &Running, key: &str, headers: &[(&str, &str)]) -> crate::common::Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    server.send("POST", "/v1/session", &headers, format!("{{\"key\": \"{key}\"}}").as_bytes())
}

#[test]
fn wrong_logins_are_counted_by_the_address_that_the_proxy_saw() {
    let (server, [admin, ..]) = start_with_keys(|config| {
        config.behind_proxy = true;
        config.http.wrong_keys_per_minute = 3;
    });
    // What a client says of itself stands before what the proxy adds.
    for made_up in 0..3 {
        let from = format!("10.0.0.{made_up}, 192.0.2.7");
        assert_eq!(login(&server, "calo_wrong", &[("x-forwarded-for", &from)]).status, 401);
    }
    let answer = login(&server, "calo_wrong", &[("x-forwarded-for", "10.0.0.9, 192.0.2.7")]);
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limit_exceeded"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    // Others are not kept out, nor is who has the key.
    assert_eq!(login(&server, "calo_wrong", &[("x-forwarded-for", "192.0.2.8")]).status, 401);
    assert_eq!(login(&server, &admin, &[("x-forwarded-for", "192.0.2.7")]).status, 200);
    // A wrong key in a header counts as a wrong login does.
    let headers = [("authorization", "Bearer calo_wrong"), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(server.send("GET", "/v1/jobs", &headers, b"").status, 429);
}

#[test]
fn without_a_proxy_the_header_says_nothing() {
    let (server, _) = start_with_keys(|config| config.http.wrong_keys_per_minute = 2);
    for made_up in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(login(&server, "calo_wrong", &[("x-forwarded-for", made_up)]).status, 401);
    }
    assert_eq!(login(&server, "calo_wrong", &[("x-forwarded-for", "192.0.2.3")]).status, 429);
}

#[test]
fn a_cookie_is_secure_where_the_proxy_has_tls() {
    let cookie = |behind_proxy: bool, proto: Option<&str>| {
        let (server, [_, alice, _]) = start_with_keys(|config| config.behind_proxy = behind_proxy);
        let headers: Vec<_> = proto.map(|proto| ("x-forwarded-proto", proto)).into_iter().collect();
        let answer = login(&server, &alice, &headers);
        let cookie = answer.header("set-cookie").unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie
    };
    assert!(cookie(true, Some("https")).contains("; Secure"));
    for (behind_proxy, proto) in [(true, Some("http")), (true, None), (false, Some("https")), (false, None)] {
        assert!(!cookie(behind_proxy, proto).contains("Secure"), "{behind_proxy} {proto:?}");
    }
}

#[test]
fn made_up_methods_and_routes_make_no_new_metrics() {
    let server = start();
    for n in 0..50 {
        assert_eq!(server.send(&format!("METHOD{n}"), &format!("/v1/jobs/{n}"), &[], b"").status, 405);
        assert_eq!(server.send("GET", &format!("/made/up/{n}"), &[], b"").status, 404);
    }
    let text = server.get("/metrics").text();
    assert!(!text.contains("METHOD") && !text.contains("made/up"), "{text}");
    assert!(text.contains("http_request_method=\"_OTHER\""), "{text}");
}
