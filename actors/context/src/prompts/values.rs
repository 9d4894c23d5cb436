//! Bounds of the values that a template makes: their items and their depth, counted in steps.
//!
//! Jinja repeats and joins lists lazily, without cost until they are written. Before a value is joined, filtered, kept or written, its items are
//! counted, those of its items included; all counts of one rendering have one budget.

use minijinja::{
    Environment, Error, ErrorKind, Output, State, escape_formatter,
    value::{Value, ValueKind},
};

/// The filter of a value that is joined or filtered.
pub(super) const BOUNDED: &str = "|kebne_bounded";
/// The filter of a factor, which must not be a list.
pub(super) const FACTOR: &str = "|kebne_factor";
/// The filter of a value that becomes a part of a namespace, which must not hold a namespace.
pub(super) const PLAIN: &str = "|kebne_plain";

/// The maximum number of items of a value, those of its items included.
const ITEMS_MAX: u64 = 100_000;
/// The maximum number of lists and maps within each other. The bodies of calls have up to 128.
const DEPTH_MAX: usize = 150;
/// The maximum number of items that are counted in one rendering.
const STEPS_MAX: u64 = 1_000_000;

/// The items that were counted in a rendering.
#[derive(Debug, Default)]
struct Steps(u64);

/// Adds the filters that [`super::template::bounded`] writes, and bounds what is written.
pub(super) fn bound_values(environment: &mut Environment<'_>) {
    environment.add_filter(
        "kebne_bounded",
        |state: &mut State<'_, '_>, value: Value| count(state, &value).map(|_| value),
    );
    environment.add_filter("kebne_factor", |state: &mut State<'_, '_>, value: Value| {
        if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong("a list cannot be repeated"));
        }
        count(state, &value).map(|_| value)
    });
    environment.add_filter("kebne_plain", |state: &mut State<'_, '_>, value: Value| {
        if count(state, &value)? {
            return Err(wrong("a namespace cannot hold a namespace"));
        }
        Ok(value)
    });
    environment.set_formatter(write);
}

fn write(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    count(state, value)?;
    escape_formatter(output, state, value)
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Counts the items of a value; returns `true` if it is or holds a namespace.
fn count(state: &mut State<'_, '_>, value: &Value) -> Result<bool, Error> {
    if value.as_object().is_none() {
        return Ok(false);
    }
    let steps = state.get_or_insert_extension(Steps::default());
    let mut counted = Counted {
        items: 0,
        has_namespace: false,
        steps,
    };
    counted.see(value, 0)?;
    Ok(counted.has_namespace)
}

struct Counted<'a> {
    items: u64,
    has_namespace: bool,
    steps: &'a mut Steps,
}

impl Counted<'_> {
    fn see(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        if depth > DEPTH_MAX {
            return Err(wrong(format!(
                "more than {DEPTH_MAX} lists or maps are within each other"
            )));
        }
        self.has_namespace |= object.type_name().ends_with("::Namespace");
        let is_map = match value.kind() {
            ValueKind::Map => true,
            ValueKind::Seq | ValueKind::Iterable => false,
            _ => return Ok(()),
        };
        for item in value.try_iter()? {
            self.items += 1;
            self.steps.0 += 1;
            if self.items > ITEMS_MAX || self.steps.0 > STEPS_MAX {
                return Err(wrong(format!(
                    "a value has more than {ITEMS_MAX} items, or all values have more than {STEPS_MAX}"
                )));
            }
            let item = if is_map { value.get_item(&item)? } else { item };
            self.see(&item, depth + 1)?;
        }
        Ok(())
    }
}
