//! sled 0.34 panics on damaged files; here a panic becomes an error, and prints nothing.

use std::any::Any;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A panic of the storage engine, with its message.
#[derive(Debug, thiserror::Error)]
#[error("the storage engine gave up: {0}")]
pub(super) struct Panicked(String);

/// Runs `operation`. It must not be continued with what it was working on after a panic.
pub(super) fn catching<T>(operation: impl FnOnce() -> T) -> Result<T, Panicked> {
    static HOOK: Once = Once::new();
    // Hooks are global and other threads may panic meanwhile, so this one is never removed and
    // looks at whose panic it is.
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(operation));
    QUIET.set(false);
    result.map_err(|payload| Panicked(message(payload.as_ref())))
}

/// Holds what the storage engine opened. Closing it after the disk failed panics, which must not end
/// the thread that is about to report the failure.
pub(super) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(super) const fn new(opened: T) -> Self {
        Self(Some(opened))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken only when dropped")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let opened = self.0.take();
        if let Err(panic) = catching(|| drop(opened)) {
            tracing::warn!(error = %panic, "the database did not close cleanly");
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(catching(|| 7).unwrap(), 7);
        let error = catching(|| panic!("damaged at {}", 12)).unwrap_err();
        assert_eq!(error.to_string(), "the storage engine gave up: damaged at 12");
        assert!(!QUIET.get());
    }

    #[test]
    fn closing_may_panic_without_harm() {
        struct Broken;
        impl Drop for Broken {
            fn drop(&mut self) {
                panic!("input/output error");
            }
        }
        drop(Guarded::new(Broken));
    }
}
