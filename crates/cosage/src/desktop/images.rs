//! Which images the engine has, as far as was seen: looked at in the background, so that nobody
//! who reads the catalogue waits for the engine.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::catalog::{App, Catalog, Source};
use crate::engine::Engine;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Images {
    seen: ArcSwap<HashMap<String, bool>>,
    /// Held while they are looked at, so that it happens once at a time.
    looking: Mutex<()>,
}

impl Images {
    /// Somebody has just found out.
    pub(super) fn note(&self, image: &str, there: bool) {
        if self.seen.load().get(image) == Some(&there) {
            return;
        }
        self.seen.rcu(|seen| {
            let mut seen = HashMap::clone(seen);
            seen.insert(image.to_owned(), there);
            seen
        });
    }

    /// Whether the app's image is there, as it was seen last; `None` where that is not known, and
    /// for an app that needs none.
    pub(super) fn has(&self, app: &App) -> Option<bool> {
        match &app.source {
            Source::Container(source) => self.seen.load().get(&source.image).copied(),
            Source::Remote { .. } => None,
        }
    }

    /// Looks at the images of the whole catalogue.
    pub(super) async fn look(&self, engine: &dyn Engine, catalog: &Catalog) {
        let _turn = self.looking.lock().await;
        let wanted: BTreeSet<&str> = catalog
            .apps
            .values()
            .filter_map(|app| match &app.source {
                Source::Container(source) => Some(source.image.as_str()),
                Source::Remote { .. } => None,
            })
            .collect();
        // Of an engine without images nothing is claimed.
        let Ok(present) = engine.images() else {
            return;
        };
        let mut seen = HashMap::new();
        for image in wanted {
            match present.is_present(image).await {
                Ok(there) => {
                    seen.insert(image.to_owned(), there);
                }
                // What is not known is not claimed; the next comparison looks again.
                Err(error) => tracing::debug!(image, %error, "the image could not be looked for"),
            }
        }
        self.seen.store(Arc::new(seen));
    }
}
