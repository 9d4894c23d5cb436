//! Runs code of the application, and catches its panics.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs code of the application outside of any message, such as a drop; a panic is logged.
pub(crate) fn guard(path: &str, act: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(act)) {
        let panic = text(&*panic);
        tracing::error!(actor = path, panic, "an actor's clean-up panicked");
    }
}

/// Drops the application's values one by one, each guarded, for two panics at once would end the process.
pub(crate) fn drop_guarded<T>(path: &str, things: impl IntoIterator<Item = T>) {
    for thing in things {
        guard(path, || drop(thing));
    }
}

/// Returns a panic's message.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let known = panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    known.unwrap_or_else(|| "a panic without a message".to_owned())
}
