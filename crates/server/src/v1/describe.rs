//! What every route may answer beside what its own description says: errors are the same everywhere.

use utoipa::openapi::{
    Content, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    path::{Operation, ParameterIn, PathItem},
    security::SecurityRequirement,
};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const SCHEMA: &str = "ProblemBody";

/// Adds the errors of all routes to a description, and their media type to those that it has.
pub(super) fn complete(openapi: &mut OpenApi) {
    for (path, item) in openapi.paths.paths.iter_mut().filter(|(path, _)| path.starts_with("/v1/")) {
        let PathItem { get, put, post, delete, .. } = item;
        for operation in [&mut *get, put, delete].into_iter().flatten() {
            add(operation, false, false);
        }
        if let Some(operation) = post {
            add(operation, path == "/v1/jobs" || path == "/v1/blobs", path.starts_with("/v1/jobs"));
        }
    }
}

fn add(operation: &mut Operation, takes_disk: bool, names_models: bool) {
    let has = |wanted: &ParameterIn| {
        let mut all = operation.parameters.iter().flatten();
        all.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == *wanted))
    };
    // `security(())` is an empty requirement.
    let is_open =
        operation.security.as_ref().is_some_and(|all| all.iter().all(|one| *one == SecurityRequirement::default()));
    let takes = |media_type: &str| match &operation.request_body {
        Some(RefOr::T(body)) => body.content.contains_key(media_type),
        _ => false,
    };
    let (has_body, is_asked) = (operation.request_body.is_some(), has(&ParameterIn::Query));
    let rows = [
        ("400", has_body || !is_open, "The request can't be read"),
        ("401", !is_open, "There is no key with it, or one that does not count"),
        ("403", has_body || !is_open, "The key lacks the scope, or a page of another site sends it"),
        ("404", names_models || has(&ParameterIn::Path), "There is none, or it is another key's"),
        ("408", has_body, "The body did not come in time"),
        ("413", has_body, "The body is too large"),
        ("415", takes(JSON), "The body is not said to be JSON"),
        ("421", true, "The server is not called by that name (Host)"),
        ("422", has_body || is_asked, "A member or a parameter is not as it must be"),
        ("429", has_body || !is_open, "Too much was asked for: Retry-After says for how many seconds to wait"),
        ("503", !is_open, "The server is going, or its storage fails: Retry-After says for how many seconds to wait"),
        ("507", takes_disk, "The disk is nearly full"),
    ];
    let all = &mut operation.responses.responses;
    for response in all.values_mut() {
        if let RefOr::T(response) = response {
            name_problem(response);
        }
    }
    for (status, _, description) in rows.into_iter().filter(|(_, may_be, _)| *may_be) {
        all.entry(status.to_owned()).or_insert_with(|| {
            let content = Content::new(Some(Ref::from_schema_name(SCHEMA)));
            ResponseBuilder::new().description(description).content(PROBLEM, content).build().into()
        });
    }
}

/// Gives an error the media type that it is sent with.
fn name_problem(response: &mut Response) {
    let is_problem = |content: &RefOr<Content>| {
        let RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) = content else { return false };
        schema.ref_location.ends_with(SCHEMA)
    };
    if response.content.get(JSON).is_some_and(is_problem)
        && let Some(content) = response.content.swap_remove(JSON)
    {
        response.content.insert(PROBLEM.to_owned(), content);
    }
}
