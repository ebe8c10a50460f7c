//! Typed reading of a request's inputs, with errors that name the field.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::error::{self, StatsError};

/// The longest list that a request may carry: a million numbers are 8 MB and a second of the slowest method.
pub const MAX_LIST_LENGTH: usize = 1_000_000;

/// No more names than this are listed in an error.
const MAX_NAMES: usize = 20;

/// The inputs of one request, or of one arm in it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    map: &'a Map<String, Value>,
    asked: Option<&'a RefCell<BTreeSet<String>>>,
}

impl<'a> Inputs<'a> {
    /// The inputs in a JSON object.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, asked: None }
    }

    /// The same, noting in `asked` every name that a method looks for.
    pub fn watched(map: &'a Map<String, Value>, asked: &'a RefCell<BTreeSet<String>>) -> Self {
        Self {
            map,
            asked: Some(asked),
        }
    }

    /// The names of all inputs.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// The raw value, or none when absent or null.
    pub fn raw(&self, field: &str) -> Option<&'a Value> {
        if let Some(asked) = self.asked {
            asked.borrow_mut().insert(field.to_owned());
        }
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Whether the input is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    /// A number, "inf", "-inf" or "nan".
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn number(&self, field: &str) -> Result<f64, StatsError> {
        as_number(field, self.required(field)?)
    }

    /// A finite number.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn finite(&self, field: &str) -> Result<f64, StatsError> {
        error::check_finite(field, self.number(field)?)
    }

    /// A finite number above 0.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn positive(&self, field: &str) -> Result<f64, StatsError> {
        error::check_positive(field, self.number(field)?)
    }

    /// A finite number of at least 0.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn not_negative(&self, field: &str) -> Result<f64, StatsError> {
        error::check_not_negative(field, self.number(field)?)
    }

    /// A number strictly between 0 and 1.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn rate(&self, field: &str) -> Result<f64, StatsError> {
        error::check_rate(field, self.number(field)?)
    }

    /// A number strictly between 0 and 1, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn rate_or(&self, field: &str, default: f64) -> Result<f64, StatsError> {
        if self.has(field) {
            self.rate(field)
        } else {
            Ok(default)
        }
    }

    /// A finite number, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn finite_or(&self, field: &str, default: f64) -> Result<f64, StatsError> {
        if self.has(field) {
            self.finite(field)
        } else {
            Ok(default)
        }
    }

    /// A whole number of at least 0, below 2⁵³ so that every arithmetic on it is exact.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn count(&self, field: &str) -> Result<u64, StatsError> {
        as_count(field, self.required(field)?)
    }

    /// A whole number of at least 0, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn count_or(&self, field: &str, default: u64) -> Result<u64, StatsError> {
        if self.has(field) {
            self.count(field)
        } else {
            Ok(default)
        }
    }

    /// A text.
    ///
    /// # Errors
    /// When it is absent or something else.
    pub fn text(&self, field: &str) -> Result<&'a str, StatsError> {
        self.required(field)?
            .as_str()
            .ok_or_else(|| StatsError::invalid(field, "must be a text"))
    }

    /// True or false, or `default` when absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, StatsError> {
        match self.raw(field) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| StatsError::invalid(field, "must be true or false")),
        }
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// When it is absent, something else, or longer than [`MAX_LIST_LENGTH`].
    pub fn numbers(&self, field: &str) -> Result<Vec<f64>, StatsError> {
        self.list(field)?
            .iter()
            .map(|value| as_number(field, value))
            .collect()
    }

    /// A list of finite numbers.
    ///
    /// # Errors
    /// When it is absent, something else, or longer than [`MAX_LIST_LENGTH`].
    pub fn finites(&self, field: &str) -> Result<Vec<f64>, StatsError> {
        let numbers = self.numbers(field)?;
        for value in &numbers {
            error::check_finite(field, *value)?;
        }
        Ok(numbers)
    }

    /// A list of whole numbers of at least 0.
    ///
    /// # Errors
    /// When it is absent, something else, or longer than [`MAX_LIST_LENGTH`].
    pub fn counts(&self, field: &str) -> Result<Vec<u64>, StatsError> {
        self.list(field)?
            .iter()
            .map(|value| as_count(field, value))
            .collect()
    }

    /// Inputs inside the inputs, such as those of one arm.
    ///
    /// # Errors
    /// When it is absent or not an object.
    pub fn object(&self, field: &str) -> Result<Inputs<'a>, StatsError> {
        as_object(field, self.required(field)?)
    }

    /// A list of inputs inside the inputs, such as those of all arms.
    ///
    /// # Errors
    /// When it is absent, not a list of objects, or longer than [`MAX_LIST_LENGTH`].
    pub fn objects(&self, field: &str) -> Result<Vec<Inputs<'a>>, StatsError> {
        self.list(field)?
            .iter()
            .map(|value| as_object(field, value))
            .collect()
    }

    /// The raw list.
    ///
    /// # Errors
    /// When it is absent, not a list, or longer than [`MAX_LIST_LENGTH`].
    pub fn list(&self, field: &str) -> Result<&'a [Value], StatsError> {
        let list = self
            .required(field)?
            .as_array()
            .ok_or_else(|| StatsError::invalid(field, "must be a list"))?;
        if list.len() > MAX_LIST_LENGTH {
            return Err(StatsError::TooLarge {
                what: "the list",
                size: list.len() as u64,
                limit: MAX_LIST_LENGTH as u64,
            });
        }
        Ok(list)
    }

    fn required(&self, field: &str) -> Result<&'a Value, StatsError> {
        self.raw(field).ok_or_else(|| {
            let given: Vec<&str> = self.names().take(MAX_NAMES).collect();
            StatsError::invalid(
                field,
                if given.is_empty() {
                    "is missing, and so is everything else".to_owned()
                } else {
                    format!("is missing; given are {}", given.join(", "))
                },
            )
        })
    }
}

fn as_number(field: &str, value: &Value) -> Result<f64, StatsError> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            "nan" => Some(f64::NAN),
            _ => None,
        },
        _ => None,
    };
    number.ok_or_else(|| StatsError::invalid(field, "must be a number"))
}

fn as_count(field: &str, value: &Value) -> Result<u64, StatsError> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let number = as_number(field, value)?;
    if (0.0..LIMIT).contains(&number) && number.fract().abs() < f64::MIN_POSITIVE {
        Ok(number as u64)
    } else {
        Err(StatsError::invalid(
            field,
            "must be a whole number from 0 to 2^53",
        ))
    }
}

fn as_object<'a>(field: &str, value: &'a Value) -> Result<Inputs<'a>, StatsError> {
    value
        .as_object()
        .map(Inputs::new)
        .ok_or_else(|| StatsError::invalid(field, "must be an object"))
}
