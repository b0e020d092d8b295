//! The files of a desktop's home: looked at, fetched, put and deleted, while it runs or sleeps.

mod body;
mod conditions;
mod location;

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::openapi::{HttpMethod, OpenApi, PathItem, RefOr};
use utoipa::{IntoParams, ToSchema};

pub(super) use self::body::DirectoryBody;
use self::conditions::{Change, There, Validators, Wanted, expected, is_conditional};
use self::location::Location;
use super::App;
use super::description::Bytes;
use super::error::{ApiError, ErrorBody};
use super::params::{Params, UidParam};
use crate::desktop::Uid;
use crate::engine::home::{
    Content, Failure, FileContent, HomeAccess, HomeError, HomePath, Mark, Time, Upload, Written,
};
use crate::segment::encode;

/// The routes of a home without a path in it.
pub(super) const HOME: &str = "/api/vm/{uid}/files";
pub(super) const HOME_SLASH: &str = "/api/vm/{uid}/files/";

/// How long an upload may stand still.
const PART_BOUND: Duration = Duration::from_secs(60);

/// How long a refused upload is read on, so that its client sees the refusal.
const READ_OUT_BOUND: Duration = Duration::from_secs(2);

/// How many entries of a directory are listed at a time at most. The program for files has room for no more.
const LIST_MAX: u32 = 10_000;

/// `{path}` in the description of a call, which OpenAPI takes for one name: several are parted by '/' that is not encoded.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes; `Location` reads")]
pub(super) struct PathParam {
    /// Where in its home: a name, percent-encoded, of 255 bytes at most; or several, with `/` in between.
    #[param(
        pattern = "^(?!\\.{1,2}$)[^/\\x00]+$",
        max_length = 255,
        example = "notes.txt"
    )]
    path: String,
}

/// How something is fetched.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// `tar`: a file or a directory, with all in it, as a tar archive.
    #[param(inline)]
    archive: Option<Archive>,
    /// How many entries of a directory are listed at most; 10000 by default.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u32>,
    /// What comes after the page of a directory that had this as its `next`.
    after: Option<String>,
}

/// A format of archives.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Archive {
    Tar,
}

/// What is put.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// Whether a directory is made, rather than a file of the body.
    #[serde(default)]
    directory: bool,
    /// When the file was last modified, as RFC 3339 has it; now by default.
    #[param(value_type = Option<String>, format = DateTime)]
    modified: Option<Timestamp>,
}

/// Fetch a file, or list a directory.
///
/// The path is relative to the home; its names are percent-encoded. Links are followed as long as
/// they lead to something in the home. A file comes as a whole, or as the one part that `Range` asks for; `If-Match`,
/// `If-None-Match`, `If-Range` and their like count.
#[utoipa::path(get, path = "/api/vm/{uid}/files/{*path}", tag = "files",
    params(
        UidParam,
        PathParam,
        ReadQuery,
    ),
    responses(
        (status = 200, description = "A directory's entries; a file's bytes; with `archive` a tar archive", content(
            (DirectoryBody = "application/json"),
            (Bytes = "application/octet-stream"),
            (Bytes = "application/x-tar"),
        )),
        (status = 206, description = "The part of a file that Range asks for", body = Bytes, content_type = "application/octet-stream"),
        (status = 304, description = "The client has the file already"),
        (status = 403, description = "A link leads out of the home, or the owner of the home has no right to it", body = ErrorBody),
        (status = 404, description = "No such desktop, or no such file", body = ErrorBody),
        (status = 409, description = "The desktop has no home", body = ErrorBody),
        (status = 412, description = "The file is not the one that If-Match names", body = ErrorBody),
        (status = 416, description = "The file has none of the bytes that Range asks for", body = ErrorBody),
        (status = 422, description = "Not a uid, not a path, or not a query", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or too many transfers are going on", body = ErrorBody),
    ))]
pub(super) async fn read(
    State(app): State<App>,
    Location(uid, path): Location,
    Params(query): Params<ReadQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (after, limit) = page(&query)?;
    let home = app.manager.home(&uid).await?;
    if let Some(Archive::Tar) = query.archive {
        let name = path.name().unwrap_or(uid.as_str().as_bytes());
        let headers = download(&[name, b".tar"].concat(), "application/x-tar");
        let body = if method == Method::HEAD {
            home.open(&path).await?.close();
            body::unsent()
        } else {
            body::of_parts(home.archive(&path).await?)
        };
        return Ok((headers, body).into_response());
    }
    match home.open(&path).await? {
        Content::Directory(directory) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            let body = if method == Method::HEAD {
                Content::Directory(directory).close();
                body::unsent()
            } else {
                let free = directory.free;
                let entries = directory.list(after, limit).await?;
                body::of_entries(&path, free, app.upload_max, entries)
            };
            Ok((kind, body).into_response())
        }
        Content::File(file) => send_file(file, &path, &method, &headers).await,
    }
}

/// Which part of a directory is listed.
fn page(query: &ReadQuery) -> Result<(Option<Mark>, u32), ApiError> {
    let refuse =
        |details| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query", details);
    let limit = query.limit.unwrap_or(LIST_MAX);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(refuse(format!(
            "limit is a number of entries from 1 to {LIST_MAX}"
        )));
    }
    let after = query.after.as_deref().map(body::parse_mark);
    let unknown = || refuse("after is what the page before had as its 'next'".to_owned());
    match after {
        Some(None) => Err(unknown()),
        after => Ok((after.flatten(), limit)),
    }
}

/// What a client wants of a file.
async fn send_file(
    file: FileContent,
    path: &HomePath,
    method: &Method,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    let size = file.size;
    let validators = Validators::new(file.version, file.modified);
    let mut headers = download(path.name().unwrap_or_default(), "application/octet-stream");
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    validators.write(&mut headers);
    let (status, range) = match validators.wanted(method, request, size) {
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            insert(&mut headers, header::CONTENT_RANGE, &text);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Unchanged => {
            Content::File(file).close();
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        Wanted::Changed => {
            Content::File(file).close();
            return Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "file_changed",
                "the file has changed meanwhile; fetch it from its beginning",
            ));
        }
        Wanted::Beyond => {
            Content::File(file).close();
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                format!("the file has {size} bytes; ask for a part that begins within them"),
            );
            let mut response = error.into_response();
            let text = format!("bytes */{size}");
            insert(response.headers_mut(), header::CONTENT_RANGE, &text);
            return Ok(response);
        }
    };
    headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    let body = if method == Method::HEAD {
        Content::File(file).close();
        body::unsent()
    } else {
        body::of_parts(file.read(range).await?)
    };
    Ok((status, headers, body).into_response())
}

/// Put a file, or make a directory.
///
/// Directories above it are made. Whoever looks sees the old file or all of the new one; an upload
/// that ends early changes nothing. `If-None-Match: *` puts only what is new, `If-Match` with the `ETag` of a file replaces
/// only that version; both are looked at in the moment in which the file is put in place.
#[utoipa::path(put, path = "/api/vm/{uid}/files/{*path}", tag = "files",
    params(
        UidParam,
        ("path" = String, Path, description = "Where in its home"),
        WriteQuery,
    ),
    request_body(content = Bytes, description = "The file's bytes, in whatever type they are declared; nothing makes an empty file", content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "It is new"),
        (status = 204, description = "It replaced a file; or the directory was there"),
        (status = 400, description = "The body ended early, or is a part of a file (`Content-Range`)", body = ErrorBody),
        (status = 403, description = "A link leads out of the home, or the owner of the home has no right to it", body = ErrorBody),
        (status = 404, description = "No such desktop", body = ErrorBody),
        (status = 408, description = "The body stood still", body = ErrorBody),
        (status = 409, description = "The desktop has no home, or a directory or a file is in the way", body = ErrorBody),
        (status = 412, description = "What is there is not what If-Match, If-None-Match or If-Unmodified-Since ask for", body = ErrorBody),
        (status = 413, description = "Larger than COSAGE_UPLOAD_MAX", body = ErrorBody),
        (status = 422, description = "Not a uid, not a path, or not a query", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or too many transfers are going on", body = ErrorBody),
        (status = 507, description = "It does not fit on the disk", body = ErrorBody),
    ))]
pub(super) async fn write(
    State(app): State<App>,
    Location(uid, path): Location,
    Params(query): Params<WriteQuery>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    if query.directory {
        let home = home_for(Change::Directory, &app, &uid, &path, request.headers()).await?;
        return Ok(status_of(home.make_directory(&path).await?));
    }
    let (head, body) = request.into_parts();
    // A client that waits for leave to send has sent nothing.
    let is_sending = !head.headers.contains_key(header::EXPECT);
    let mut body = body.into_data_stream();
    let written = receive(&app, &uid, &path, query.modified, &head.headers, &mut body).await;
    if written.is_err() && is_sending {
        read_out(body).await;
    }
    written
}

async fn receive(
    app: &App,
    uid: &Uid,
    path: &HomePath,
    modified: Option<Timestamp>,
    request: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<StatusCode, ApiError> {
    if request.contains_key(header::CONTENT_RANGE) {
        // A file would be replaced by a part of it (RFC 9110, 14.5).
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "partial_upload",
            "a file is put as a whole; send all of it, without Content-Range",
        ));
    }
    let size = content_length(request);
    if size.is_some_and(|size| size > app.upload_max) {
        return Err(too_large(app.upload_max));
    }
    let modified = modified.map(|modified| Time {
        seconds: modified.as_second(),
        // Before 1970 they count backwards.
        nanoseconds: u32::try_from(modified.subsec_nanosecond()).unwrap_or_default(),
    });
    let home = home_for(Change::File, app, uid, path, request).await?;
    let mut upload = home.write(path, size, modified).await?;
    send(&mut upload, body, app.upload_max).await?;
    Ok(status_of(upload.finish().await?))
}

/// The home for a change at `path`, which is made only where the request's conditions are met.
async fn home_for(
    change: Change,
    app: &App,
    uid: &Uid,
    path: &HomePath,
    request: &HeaderMap,
) -> Result<HomeAccess, ApiError> {
    let home = app.manager.home(uid).await?;
    if !is_conditional(request) {
        return Ok(home);
    }
    let there = match home.open(path).await {
        Ok(content) => {
            let there = match &content {
                Content::File(file) => There::File(Validators::new(file.version, file.modified)),
                Content::Directory(_) => There::Directory,
            };
            content.close();
            there
        }
        Err(HomeError::Files(Failure::NotFound)) => There::Nothing,
        Err(HomeError::Files(Failure::NotFile)) => There::Other,
        Err(error) => return Err(error.into()),
    };
    let expected = expected(change, request, &there).map_err(HomeError::Files)?;
    Ok(app.manager.home(uid).await?.expecting(expected))
}

/// Takes for a while what is left of a body that is refused: a connection that is closed while its
/// client is sending is reset, and then the client may never see why (RFC 9112, 9.6).
async fn read_out(mut body: BodyDataStream) {
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    let _ = timeout(READ_OUT_BOUND, rest).await;
}

/// Delete a file, or a directory with all in it.
///
/// `If-Match` with the `ETag` of a file deletes only that version.
#[utoipa::path(delete, path = "/api/vm/{uid}/files/{*path}", tag = "files",
    params(
        UidParam,
        PathParam,
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "A link leads out of the home, or the owner of the home has no right to it", body = ErrorBody),
        (status = 404, description = "No such desktop, or no such file", body = ErrorBody),
        (status = 409, description = "The desktop has no home", body = ErrorBody),
        (status = 412, description = "What is there is not what If-Match, If-None-Match or If-Unmodified-Since ask for", body = ErrorBody),
        (status = 422, description = "Not a uid, or not a path", body = ErrorBody),
        (status = 503, description = "The engine does not answer, or too many transfers are going on", body = ErrorBody),
    ))]
pub(super) async fn remove(
    State(app): State<App>,
    Location(uid, path): Location,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let home = home_for(Change::Removal, &app, &uid, &path, &headers).await?;
    home.remove(&path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes the routes of files as OpenAPI has them, which knows no path of several names and none that may be absent.
pub(super) fn describe(description: &mut OpenApi) {
    let paths = &mut description.paths.paths;
    let Some(item) = paths.remove("/api/vm/{uid}/files/{*path}") else {
        return;
    };
    if let Some(mut read) = item.get.clone() {
        read.summary = Some("List the home itself.".to_owned());
        read.operation_id = Some("read_home".to_owned());
        if let Some(parameters) = &mut read.parameters {
            parameters.retain(|parameter| !matches!(parameter, RefOr::T(it) if it.name == "path"));
        }
        paths.insert(HOME.to_owned(), PathItem::new(HttpMethod::Get, read));
    }
    paths.insert("/api/vm/{uid}/files/{path}".to_owned(), item);
}

async fn send(
    upload: &mut Upload,
    body: &mut BodyDataStream,
    upload_max: u64,
) -> Result<(), ApiError> {
    let mut left = upload_max;
    loop {
        let part = timeout(PART_BOUND, body.next()).await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                format!("nothing came for {} s", PART_BOUND.as_secs()),
            )
        })?;
        let Some(part) = part else { return Ok(()) };
        let part = part.map_err(|_| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                "the body ended early",
            )
        })?;
        left = left
            .checked_sub(part.len() as u64)
            .ok_or_else(|| too_large(upload_max))?;
        upload.send(&part).await?;
    }
}

fn too_large(upload_max: u64) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "file_too_large",
        format!("a file may have {upload_max} bytes at most (COSAGE_UPLOAD_MAX)"),
    )
}

fn status_of(written: Written) -> StatusCode {
    match written {
        Written::Created => StatusCode::CREATED,
        Written::Replaced => StatusCode::NO_CONTENT,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// What makes a browser keep a file, whatever is in it, and never show it as a page of this origin.
fn download(name: &[u8], kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // The extended notation (RFC 8187) takes any text, and browsers ignore one that is not UTF-8.
    let name = encode(String::from_utf8_lossy(name).as_bytes());
    let disposition = format!("attachment; filename*=UTF-8''{name}");
    insert(&mut headers, header::CONTENT_DISPOSITION, &disposition);
    let fixed: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
