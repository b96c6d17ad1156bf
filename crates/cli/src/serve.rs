//! `calotype serve` and `calotype health`.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::exit,
    time::Duration,
};

#[cfg(feature = "gpu")]
use calotype::{CpuDevice, CpuDeviceOptions};
use calotype_server::{Card, Config, Server};

use crate::{
    args::{DeviceArg, Health, Serve, device},
    failure::{Failure, INTERRUPTED, line},
    log, stdout,
};

/// How long a probe waits.
const PROBE: Duration = Duration::from_secs(5);
/// An answer to a probe is far shorter.
const MAX_ANSWER: u64 = 64 << 10;

pub(crate) fn run(args: &Serve, log_filter: Option<&str>) -> Result<(), Failure> {
    log::start_server(log_filter, args.log_json)?;
    let config = config(args)?;
    let card = card(args, &config)?;
    let server = Server::open_on(config, card)?;
    let address = server.address()?;
    let login = if server.needs_key() { "with a key" } else { "without a login, for this machine alone" };
    line("serving", &format!("http://{address}/ ({login}); Ctrl-C ends it"));
    let has_ended = server.run(|| {
        line("stopping", "at once");
        exit(i32::from(INTERRUPTED))
    })?;
    match has_ended {
        true => Ok(()),
        false => {
            let problem = "not everything had ended in time: what was worked on is worked on again at the next start";
            line("warning", problem);
            // What goes on would keep the process from ending.
            exit(0)
        }
    }
}

/// The card that makes the images, if one is to be taken.
fn card(args: &Serve, config: &Config) -> Result<Option<Card>, Failure> {
    let of_config = || match &config.device {
        Some(text) => device(text).map_err(|problem| Failure::Failed(format!("device {text:?}: {problem}"))),
        None => Ok(DeviceArg::Auto),
    };
    let asked = args.device.map_or_else(of_config, Ok)?;
    #[cfg(not(feature = "gpu"))]
    crate::devices::without_cards(asked)?;
    #[cfg(feature = "gpu")]
    {
        let id = config.precision.as_deref();
        let precision = calotype::Precision::ALL.into_iter().find(|precision| Some(precision.id()) == id);
        let options = CpuDeviceOptions { threads: config.threads, ..CpuDeviceOptions::default() };
        let cpu = CpuDevice::new(options).map_err(calotype::Error::from)?;
        let wish = crate::card::Wish { device: asked, precision, timestamps: false };
        if let Some(card) = crate::card::Card::open(wish, &cpu)? {
            return Ok(Some(card.for_engine(asked == DeviceArg::Auto)));
        }
    }
    Ok(None)
}

/// The config file, and over it what the command line says.
fn config(args: &Serve) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    config.models.extend(args.models.iter().cloned());
    let safety = &mut config.safety;
    for (given, set) in [(&args.safety_checker, &mut safety.checker), (&args.rules, &mut safety.rules)] {
        if given.is_some() {
            set.clone_from(given);
        }
    }
    if args.safety.is_some() {
        safety.policy.clone_from(&args.safety);
    }
    Ok(config)
}

/// Asks a server whether it is ready.
pub(crate) fn health(args: &Health) -> Result<(), Failure> {
    let url = &args.url;
    let host = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    let Some(host) = host.filter(|host| !host.is_empty() && !host.contains(['/', '@'])) else {
        return Err(Failure::usage(format!("--url {url}: expected http://HOST:PORT")));
    };
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let failed = |problem: String| Failure::Failed(format!("{url}: {problem}"));
    let mut addresses = with_port.to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let address = addresses.next().ok_or_else(|| failed("has no address".to_owned()))?;
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.set_write_timeout(Some(PROBE))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| failed(format!("does not answer: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => stdout::print("ready"),
        _ => Err(failed(format!("is not ready: {}", body.trim()))),
    }
}
