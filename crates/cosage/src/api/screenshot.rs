//! Pictures of desktops.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::description::Bytes;
use super::error::{ApiError, ErrorBody};
use super::params::{Params, UidParam, UidPath};
use crate::desktop::Uid;
use crate::desktop::camera::Camera;
use crate::desktop::error::DesktopError;
use crate::desktop::view::Phase;
use crate::pictures::{Format, Picture, PictureError, Shape};

/// The narrowest and widest picture that can be asked for, in pixels.
const WIDTHS: std::ops::RangeInclusive<u32> = 16..=16_384;

/// Whether a picture shows the desktop as it is.
const PICTURE: &str = "x-cosage-picture";

/// Dates as HTTP has them.
static PRINTER: DateTimePrinter = DateTimePrinter::new();

/// The kind of file.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatWord {
    Png,
    Jpeg,
}

/// What picture.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ScreenshotQuery {
    /// `png` or `jpeg`; without it, what the header `Accept` prefers, and else `png`.
    #[param(inline)]
    format: Option<FormatWord>,
    /// How many pixels it may be wide, 16 to 16384; a wider one is scaled down, and none is scaled up.
    #[param(minimum = 16, maximum = 16384)]
    width: Option<u32>,
    /// Whether only the picture that is kept will do: the desktop is left alone.
    #[serde(default)]
    last: bool,
}

/// What a desktop shows.
///
/// Of a desktop that is ready a picture is taken, which all share who ask within a second (`X-Cosage-Picture: live`);
/// nobody counts as a viewer. Of any other the last picture is given, which was taken while somebody looked, when the
/// last viewer left, or before it was stopped (`X-Cosage-Picture: last`; at most 640 pixels wide).
#[utoipa::path(get, path = "/api/vm/{uid}/screenshot", tag = "desktops",
    params(UidParam, ScreenshotQuery),
    responses(
        (status = 200, description = "The picture", content(
            (Bytes = "image/png"),
            (Bytes = "image/jpeg"),
        )),
        (status = 304, description = "The last picture is the one that If-None-Match names"),
        (status = 404, description = "No such desktop, or no picture of it", body = ErrorBody),
        (status = 422, description = "Not a uid, or not a picture that can be asked for", body = ErrorBody),
        (status = 502, description = "The desktop's VNC server gave no picture", body = ErrorBody),
        (status = 503, description = "Too many pictures are being taken", body = ErrorBody),
        (status = 504, description = "The desktop gave no picture in time", body = ErrorBody),
    ))]
pub(super) async fn screenshot(
    State(app): State<App>,
    UidPath(uid): UidPath,
    Params(query): Params<ScreenshotQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let shape = shape_of(&query, &headers)?;
    let view = app.manager.view(&uid).await?;
    if query.last || view.phase != Phase::Ready {
        return last(&app, uid, shape, &headers).await;
    }
    match app.manager.glance(&uid).await {
        Ok(lease) => match app.pictures.live(lease, shape).await {
            Ok(picture) => Ok(live(picture, shape)),
            // It has ended meanwhile.
            Err(PictureError::Ended) => last(&app, uid, shape, &headers).await,
            Err(error) => Err(error.into()),
        },
        // It has just ended.
        Err(DesktopError::NotRunning(_)) => last(&app, uid, shape, &headers).await,
        Err(error) => Err(error.into()),
    }
}

fn shape_of(query: &ScreenshotQuery, headers: &HeaderMap) -> Result<Shape, ApiError> {
    if query.width.is_some_and(|width| !WIDTHS.contains(&width)) {
        let (least, most) = WIDTHS.into_inner();
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_query",
            format!("width is a number of pixels from {least} to {most}"),
        ));
    }
    let format = match query.format {
        Some(FormatWord::Png) => Format::Png,
        Some(FormatWord::Jpeg) => Format::Jpeg,
        None => accepted(headers),
    };
    Ok(Shape {
        format,
        width: query.width,
    })
}

/// JPEG where `Accept` (RFC 9110, 12.5.1) prefers it to PNG.
fn accepted(headers: &HeaderMap) -> Format {
    let ranges: Vec<(&str, f32)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            (media, weight.unwrap_or(1.0))
        })
        .collect();
    let weight = |media: &str| {
        [media, "image/*", "*/*"].iter().find_map(|wanted| {
            let (_, weight) = ranges
                .iter()
                .find(|(range, _)| range.eq_ignore_ascii_case(wanted))?;
            Some(*weight)
        })
    };
    if weight("image/jpeg") > weight("image/png") {
        Format::Jpeg
    } else {
        Format::Png
    }
}

fn live(picture: Picture, shape: Shape) -> Response {
    let mut response = file(picture, shape, "live");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The picture that is kept; a client that has it already is told so without a look at the file.
async fn last(
    app: &App,
    uid: Uid,
    shape: Shape,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let known = headers.get(header::IF_NONE_MATCH);
    let unchanged = app.pictures.kept(&uid).and_then(|at| tag(at, shape));
    let mut response = if known.is_some() && known == unchanged.as_ref() {
        (StatusCode::NOT_MODIFIED, [(PICTURE, "last")]).into_response()
    } else {
        match app.pictures.last(&uid, shape).await? {
            Some(picture) => file(picture, shape, "last"),
            None => {
                return Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    "no_picture",
                    format!(
                        "there is no picture of '{uid}' yet; one is taken when somebody has looked at it"
                    ),
                ));
            }
        }
    };
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

fn file(picture: Picture, shape: Shape, kind: &'static str) -> Response {
    let media = match shape.format {
        Format::Png => "image/png",
        Format::Jpeg => "image/jpeg",
    };
    let fixed = [
        (header::CONTENT_TYPE.as_str(), media),
        (header::X_CONTENT_TYPE_OPTIONS.as_str(), "nosniff"),
        (PICTURE, kind),
    ];
    let mut response = (fixed, picture.file).into_response();
    let headers = response.headers_mut();
    let date = PRINTER.timestamp_to_rfc9110_string(&picture.taken_at).ok();
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(header::LAST_MODIFIED, date);
    }
    if let Some(tag) = tag(picture.taken_at, shape) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Names one picture in one shape.
fn tag(taken_at: Timestamp, shape: Shape) -> Option<HeaderValue> {
    let format = match shape.format {
        Format::Png => "png",
        Format::Jpeg => "jpeg",
    };
    let width = shape.width.unwrap_or_default();
    let at = taken_at.as_nanosecond();
    HeaderValue::try_from(format!("\"{at}-{format}-{width}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_client_prefers() {
        for (accept, format) in [
            (None, Format::Png),
            (Some("*/*"), Format::Png),
            (Some("image/jpeg"), Format::Jpeg),
            (Some("image/png"), Format::Png),
            (Some("image/*, image/jpeg;q=0.5"), Format::Png),
            (Some("image/png;q=0.2, image/*;q=0.9"), Format::Jpeg),
            (
                Some("text/html, IMAGE/JPEG ; q=0.8, */*;q=0.1"),
                Format::Jpeg,
            ),
            (Some("text/html"), Format::Png),
            (Some(";;q=,,"), Format::Png),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(accepted(&headers), format, "{accept:?}");
        }
    }
}
