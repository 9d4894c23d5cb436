//! The fields of one JSON object, taken one by one, so that the remaining ones are known.

use serde_json::{Map, Value};

use crate::translate::{InvalidField, Path};

/// An object that is being read. Each `take…` method removes a field; `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Fields<'p> {
    path: Path<'p>,
    map: Map<String, Value>,
}

impl<'p> Fields<'p> {
    /// Reads an object.
    ///
    /// # Errors
    /// Returns an error if the value is not an object.
    pub(crate) fn of(value: Value, path: Path<'p>) -> Result<Self, InvalidField> {
        match value {
            Value::Object(mut map) => {
                map.retain(|_, value| !value.is_null());
                Ok(Self { path, map })
            }
            _ => Err(InvalidField::at(path, "must be an object")),
        }
    }

    /// Returns the path of the object.
    pub(crate) fn path(&self) -> Path<'p> {
        self.path
    }

    /// Takes a field.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key)
    }

    /// Takes those of the fields that are present.
    pub(crate) fn take_all(&mut self, keys: &[&str]) -> Map<String, Value> {
        let mut taken = Map::new();
        for key in keys {
            if let Some((key, value)) = self.map.shift_remove_entry(*key) {
                taken.insert(key, value);
            }
        }
        taken
    }

    /// Returns a field without taking it.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// Takes a required field.
    pub(crate) fn require(&mut self, key: &str) -> Result<Value, InvalidField> {
        self.take(key).ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// Takes a string.
    pub(crate) fn take_text(&mut self, key: &str) -> Result<Option<String>, InvalidField> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "must be a string")),
        }
    }

    /// Takes a required string.
    pub(crate) fn require_text(&mut self, key: &str) -> Result<String, InvalidField> {
        self.take_text(key)?
            .ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// Takes a list.
    pub(crate) fn take_list(&mut self, key: &str) -> Result<Option<Vec<Value>>, InvalidField> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(key, "must be a list")),
        }
    }

    /// Takes a boolean; an absent field is `false`.
    pub(crate) fn take_flag(&mut self, key: &str) -> Result<bool, InvalidField> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    /// Returns the error for one field.
    pub(crate) fn wrong(&self, key: &str, reason: &str) -> InvalidField {
        InvalidField::at(self.path.key(key), reason)
    }

    /// Refuses a field that is present, unless its value has no effect: `null`, `false`, or an empty list or object.
    pub(crate) fn refuse(&mut self, key: &str) -> Result<(), InvalidField> {
        let Some(value) = self.take(key) else {
            return Ok(());
        };
        let means_nothing = match &value {
            Value::Bool(flag) => !flag,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if means_nothing {
            return Ok(());
        }
        Err(InvalidField::unsupported(self.path.key(key)))
    }

    /// Returns the fields that were not taken.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }

    /// Refuses the first field that was not taken.
    pub(crate) fn refuse_rest(self) -> Result<(), InvalidField> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(InvalidField::unsupported(self.path.key(key))),
        }
    }

    /// Puts the fields that were not taken into the target object. A field that the translation has set itself is
    /// refused, because both values would have the same place.
    pub(crate) fn pass_rest(self, target: &mut Map<String, Value>) -> Result<(), InvalidField> {
        for (key, value) in self.map {
            if target.contains_key(&key) {
                return Err(InvalidField::at(
                    self.path.key(&key),
                    "is a field of another API, and this request sets its counterpart",
                ));
            }
            target.insert(key, value);
        }
        Ok(())
    }
}
