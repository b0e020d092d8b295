//! What several connections have in common, for as long as one of them has it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A value for each key, which is forgotten when nobody holds it any more. Clones are the same registry.
pub(super) struct Registry<K, V>(Arc<Mutex<HashMap<K, Weak<V>>>>);

impl<K: Clone + Eq + Hash, V> Registry<K, V> {
    /// The value of this key, made when there is none.
    pub(super) fn at(&self, key: &K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(key).and_then(Weak::upgrade) {
            return value;
        }
        values.retain(|_, value| value.strong_count() > 0);
        let value = Arc::new(make());
        values.insert(key.clone(), Arc::downgrade(&value));
        value
    }
}

impl<K, V> Clone for Registry<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
