//! What stands in for the host in an ordinary test.

use std::{cell::RefCell, thread::LocalKey};

/// Runs `body` with another value in its place, and puts the former back even where `body` panics.
pub fn with<V: 'static, T>(place: &'static LocalKey<RefCell<V>>, value: V, body: impl FnOnce() -> T) -> T {
    struct Restore<V: 'static>(&'static LocalKey<RefCell<V>>, Option<V>);
    impl<V> Drop for Restore<V> {
        fn drop(&mut self) {
            if let Some(former) = self.1.take() {
                self.0.replace(former);
            }
        }
    }
    let _restore = Restore(place, Some(place.replace(value)));
    body()
}
