//! What the API's description says of all calls alike.

use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::{OpenApi, PathItem, Ref, RefOr, Required, ResponseBuilder};

/// Bytes as they are.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "it describes")]
pub(super) struct Bytes(Vec<u8>);

/// Adds what the calls' own descriptions leave out: the answers that any call, any change and any body can get.
pub(super) fn complete(description: &mut OpenApi) {
    for item in description.paths.paths.values_mut() {
        for (operation, is_change) in operations(item) {
            complete_operation(operation, is_change);
        }
    }
}

/// The calls at a path, and whether each may change something.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let reads = [&mut item.get];
    let changes = [
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ];
    let reads = reads.into_iter().flatten().map(|read| (read, false));
    reads.chain(changes.into_iter().flatten().map(|change| (change, true)))
}

fn complete_operation(operation: &mut Operation, is_change: bool) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        if takes_json(body) {
            add(
                operation,
                "400",
                "The body is not JSON, or the Host header is malformed",
            );
            add(operation, "408", "The body did not arrive in time");
            add(operation, "413", "The body is larger than 64 KiB");
            add(
                operation,
                "415",
                "The body is not declared as application/json",
            );
            add(
                operation,
                "422",
                "Not a uid, or the body is not what this call takes",
            );
        } else {
            // Nothing is an empty file.
            body.required = Some(Required::False);
        }
    }
    if names_desktop(operation) {
        add(operation, "422", "Not a uid");
    }
    if is_change {
        add(
            operation,
            "403",
            "Pages of this origin may change nothing (COSAGE_ALLOWED_ORIGINS)",
        );
    }
    add(operation, "400", "The Host header is malformed");
    add(
        operation,
        "421",
        "The service does not answer for this host (COSAGE_ALLOWED_HOSTS)",
    );
}

fn names_desktop(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    let is_uid = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => {
            parameter.name == "uid" && parameter.parameter_in == ParameterIn::Path
        }
        RefOr::Ref(_) => false,
    };
    parameters.into_iter().any(is_uid)
}

fn takes_json(body: &RequestBody) -> bool {
    body.content.contains_key("application/json")
}

/// Adds an error, unless the call describes it itself.
fn add(operation: &mut Operation, status: &str, what: &str) {
    let error = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorBody")))
        .build();
    let response = ResponseBuilder::new()
        .description(what)
        .content("application/json", error)
        .build();
    let responses = &mut operation.responses.responses;
    responses
        .entry(status.to_owned())
        .or_insert_with(|| RefOr::T(response));
}
