//! Rules of translation caches.
