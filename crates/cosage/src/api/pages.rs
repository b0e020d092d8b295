//! All desktops, in one piece while they are few, and a page at a time.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::desktops::{DesktopBody, describe};
use super::error::{ApiError, ErrorBody};
use super::params::Params;
use crate::desktop::pages::{PageQuery, Phases};
use crate::desktop::view::Phase;
use crate::store::{Cursor, Sort};

/// How many desktops an answer without parameters has at most.
const UNPAGED_MAX: usize = 1_000;

/// How many desktops a page has where nothing is said.
const PAGE: usize = 100;

/// The longest page.
const PAGE_MAX: usize = 1_000;

/// The longest text to search for, in characters.
const TEXT_MAX: usize = 128;

/// Which desktops, in which order.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParams {
    /// How many desktops at most; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before; with the same `sort`.
    after: Option<String>,
    /// Only desktops with this status; `active` is any but `asleep` and `failed`.
    #[param(inline)]
    status: Option<StatusFilter>,
    /// Only desktops of this app.
    app: Option<String>,
    /// Only desktops whose name or app contains each word of this text.
    #[param(max_length = 128)]
    q: Option<String>,
    /// Their order: the newest first (`created`), the one that was used last first (`used`), or by name (`uid`).
    #[param(inline)]
    sort: Option<SortWord>,
}

/// A status, or several.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StatusFilter {
    Active,
    Asleep,
    Starting,
    Ready,
    Stopping,
    Restarting,
    Failed,
}

/// An order of desktops.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SortWord {
    Created,
    Used,
    Uid,
}

/// A page of desktops.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PageBody<'a> {
    /// They, in their order. There may be fewer than `limit` although there is a next page.
    desktops: Vec<DesktopBody<'a>>,
    /// What to send as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// All desktops, or a page of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes")]
pub(super) enum AllBody<'a> {
    /// Without parameters.
    All(Vec<DesktopBody<'a>>),
    /// With any of them.
    Page(PageBody<'a>),
}

/// Everything there is to know about desktops, also those that sleep.
///
/// Without parameters, all of them are answered as an array, the newest first, as long as there are at most 1,000. With any
/// parameter, a page is answered; `next` of it is the next page's `after`. A walk through all pages in the order `created` or
/// `uid` sees each desktop that exists all the while exactly once. In the order `used`, a desktop that is used meanwhile
/// moves to the front, where the walk has been.
#[utoipa::path(get, path = "/api/vm", tag = "desktops",
    params(PageParams),
    responses(
        (status = 200, body = AllBody<'static>),
        (status = 422, description = "More than 1,000 desktops and no parameters, or not a page that can be asked for", body = ErrorBody),
        (status = 503, description = "The store failed", body = ErrorBody),
    ))]
pub(super) async fn all(
    State(app): State<App>,
    RawQuery(raw): RawQuery,
    Params(params): Params<PageParams>,
) -> Result<Response, ApiError> {
    let catalog = app.manager.catalog();
    let is_paged = raw.is_some_and(|raw| !raw.is_empty());
    let query = if is_paged {
        page_query(params)?
    } else {
        if app.manager.count(UNPAGED_MAX + 1).await? > UNPAGED_MAX {
            return Err(unprocessable(
                "page_required",
                format!(
                    "there are more than {UNPAGED_MAX} desktops; ask for a page of them: GET /api/vm?limit={PAGE}"
                ),
            ));
        }
        PageQuery {
            limit: UNPAGED_MAX,
            ..page_query(params)?
        }
    };
    let page = app.manager.page(&query).await?;
    let desktops = page.views.iter().map(|view| describe(&app, &catalog, view));
    if !is_paged {
        return Ok(Json(desktops.collect::<Vec<_>>()).into_response());
    }
    let body = PageBody {
        desktops: desktops.collect(),
        next: page.next.map(|next| encode(&next)),
    };
    Ok(Json(body).into_response())
}

fn page_query(params: PageParams) -> Result<PageQuery, ApiError> {
    let limit = params.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(unprocessable(
            "invalid_limit",
            format!("limit is a number from 1 to {PAGE_MAX}"),
        ));
    }
    let text = params.q.filter(|text| !text.is_empty());
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > TEXT_MAX)
    {
        return Err(unprocessable(
            "invalid_q",
            format!("q has at most {TEXT_MAX} characters"),
        ));
    }
    let after = params.after.map(|after| {
        decode(&after).ok_or_else(|| {
            unprocessable(
                "invalid_after",
                "after is 'next' of the page before; leave it out for the first page".to_owned(),
            )
        })
    });
    Ok(PageQuery {
        sort: match params.sort {
            None | Some(SortWord::Created) => Sort::Created,
            Some(SortWord::Used) => Sort::Used,
            Some(SortWord::Uid) => Sort::Uid,
        },
        after: after.transpose()?,
        limit,
        app: params.app,
        text,
        phases: params.status.map(|status| match status {
            StatusFilter::Active => Phases::Active,
            StatusFilter::Asleep => Phases::One(Phase::Asleep),
            StatusFilter::Starting => Phases::One(Phase::Starting),
            StatusFilter::Ready => Phases::One(Phase::Ready),
            StatusFilter::Stopping => Phases::One(Phase::Stopping),
            StatusFilter::Restarting => Phases::One(Phase::Restarting),
            StatusFilter::Failed => Phases::One(Phase::Failed),
        }),
    })
}

/// What only [`decode`] has to understand.
fn encode(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{:.9} {}", cursor.at, cursor.uid))
}

fn decode(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (at, uid) = text.split_once(' ')?;
    Some(Cursor {
        at: at.parse().ok()?,
        uid: uid.parse().ok()?,
    })
}

fn unprocessable(code: &'static str, details: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_it_was() {
        let cursor = Cursor {
            at: "2026-01-02T03:04:05.678901234Z".parse().unwrap(),
            uid: "a_desk.top-1".parse().unwrap(),
        };
        assert_eq!(decode(&encode(&cursor)), Some(cursor));
        for text in [
            "",
            "AAAA",
            "not base64!",
            &URL_SAFE_NO_PAD.encode("today ../etc"),
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
