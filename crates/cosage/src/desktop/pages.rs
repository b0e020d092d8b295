//! All desktops, a page at a time: those that rest are rows of the store, the others are in memory.

use std::sync::Arc;

use super::manager::Manager;
use super::record::{DesktopRecord, StoredDesktop};
use super::view::{Phase, View};
use crate::store::{Cursor, Query, Resting, Sort, StoreError};

/// Which desktops, in which order.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Their order.
    pub sort: Sort,
    /// Where the page begins: after this desktop.
    pub after: Option<Cursor>,
    /// How many at most, 1 or more.
    pub limit: usize,
    /// Only those of this app.
    pub app: Option<String>,
    /// Only those whose name or app contains each word of this text, in either case of letters.
    pub text: Option<String>,
    /// Only those in one of these phases.
    pub phases: Option<Phases>,
}

/// Phases to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// One.
    One(Phase),
    /// All in which a run is live.
    Active,
}

/// A page of desktops.
#[derive(Clone, Debug)]
pub struct Page {
    /// They, in their order.
    pub views: Vec<Arc<View>>,
    /// Where the next page begins, where there may be one.
    pub next: Option<Cursor>,
}

impl PageQuery {
    /// The newest desktops, all kinds of them.
    pub fn newest(limit: usize, after: Option<Cursor>) -> Self {
        Self {
            sort: Sort::Created,
            after,
            limit,
            app: None,
            text: None,
            phases: None,
        }
    }

    /// The same for the store, which knows what rests.
    fn of_store(&self, resting: Option<Resting>) -> Query {
        Query {
            sort: self.sort,
            after: self.after.clone(),
            limit: self.limit,
            app: self.app.clone(),
            text: self.text.clone(),
            resting,
        }
    }
}

impl Phases {
    fn include(self, phase: Phase) -> bool {
        match self {
            Self::One(one) => phase == one,
            Self::Active => matches!(
                phase,
                Phase::Starting | Phase::Ready | Phase::Stopping | Phase::Restarting
            ),
        }
    }
}

impl Manager {
    /// A page of desktops. Each shows what is known of it right now.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        match query.phases {
            None => self.stored_page(query, None).await,
            Some(Phases::One(Phase::Asleep)) => {
                self.stored_page(query, Some(Resting::Asleep)).await
            }
            Some(Phases::One(Phase::Failed)) => {
                self.stored_page(query, Some(Resting::Failed)).await
            }
            Some(phases) => self.active_page(query, phases).await,
        }
    }

    /// How many desktops there are, counted up to `most`.
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self, most: usize) -> Result<usize, StoreError> {
        self.context.store.count(most).await
    }

    async fn stored_page(
        &self,
        query: &PageQuery,
        resting: Option<Resting>,
    ) -> Result<Page, StoreError> {
        let query = query.of_store(resting);
        let stored = self.context.store.desktops(&query).await?;
        let next = (stored.len() == query.limit)
            .then(|| stored.last().map(|last| Cursor::after(last, query.sort)))
            .flatten();
        let views = stored.iter().map(|stored| self.view_of(stored));
        // What was started meanwhile does not rest any more.
        let rests = |view: &Arc<View>| match resting {
            None => true,
            Some(Resting::Asleep) => view.phase == Phase::Asleep,
            Some(Resting::Failed) => view.phase == Phase::Failed,
        };
        Ok(Page {
            views: views.filter(rests).collect(),
            next,
        })
    }

    /// Desktops in phases in which they have a driver: no more than there are stream keys.
    async fn active_page(&self, query: &PageQuery, phases: Phases) -> Result<Page, StoreError> {
        let mut desktops = Vec::new();
        for view in self.registry.views() {
            if !phases.include(view.phase) {
                continue;
            }
            let stored = match query.sort {
                Sort::Created | Sort::Uid => {
                    Some(StoredDesktop::new(DesktopRecord::clone(&view.record)))
                }
                // Only the store knows.
                Sort::Used => self.context.store.desktop(&view.record.uid).await?,
            };
            desktops.extend(stored.map(|stored| (stored, view)));
        }
        let selected = query.of_store(None);
        desktops.retain(|(stored, _)| selected.selects(stored));
        desktops.sort_by(|(one, _), (other, _)| query.sort.compare(one, other));
        let has_more = desktops.len() > query.limit;
        desktops.truncate(query.limit);
        let last = desktops.last().filter(|_| has_more);
        let next = last.map(|(stored, _)| Cursor::after(stored, query.sort));
        Ok(Page {
            views: desktops.into_iter().map(|(_, view)| view).collect(),
            next,
        })
    }

    fn view_of(&self, stored: &StoredDesktop) -> Arc<View> {
        let uid = &stored.record.uid;
        self.registry
            .view(uid)
            .unwrap_or_else(|| Arc::new(View::stored(stored, self.context.camera.kept(uid))))
    }
}
