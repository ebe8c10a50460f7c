//! What the command line of `experimently power` is made of: sizes in percent, shares, looks, spending functions.

use std::str::FromStr;

use stats::StatsError;
use stats::sequential::group::spending::Spending;

/// A difference, absolute or relative to the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// In the metric's own unit.
    Absolute(f64),
    /// As a share of the baseline.
    Relative(f64),
}

impl Size {
    /// The difference in the metric's unit.
    ///
    /// # Errors
    /// When it is relative and there is no baseline to take it of.
    pub fn absolute(self, field: &str, baseline: Option<f64>) -> Result<f64, StatsError> {
        match self {
            Self::Absolute(size) => Ok(size),
            Self::Relative(share) => baseline
                .map(|baseline| share * baseline.abs())
                .ok_or_else(|| StatsError::invalid(field, "in percent needs --baseline")),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            text.trim()
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite())
                .ok_or_else(|| "must be a number such as 0.5, or a percentage such as 10%".to_owned())
        };
        match text.strip_suffix('%') {
            Some(percent) => number(percent).map(|value| Self::Relative(value / 100.0)),
            None => number(text).map(Self::Absolute),
        }
    }
}

/// Traffic shares.
#[derive(Debug, Clone, PartialEq)]
pub enum Shares {
    /// The same for every arm.
    Equal,
    /// Those that need the least traffic: the control gets √treatments times as much.
    Best,
    /// As listed, the control first.
    List(Vec<f64>),
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "equal" => Ok(Self::Equal),
            "best" => Ok(Self::Best),
            list => list_of_numbers(list)
                .map(Self::List)
                .ok_or_else(|| "must be equal, best, or a list such as 50,25,25".to_owned()),
        }
    }
}

/// How many looks, or where they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Looks {
    /// So many, evenly spaced.
    Number(usize),
    /// At these shares of all units.
    Shares(Vec<f64>),
}

impl FromStr for Looks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(number) = text.parse::<usize>() {
            return Ok(Self::Number(number));
        }
        list_of_numbers(text)
            .map(Self::Shares)
            .ok_or_else(|| "must be a number such as 5, or shares such as 0.5,0.75,1".to_owned())
    }
}

/// A spending function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpendingRule(pub Spending);

impl FromStr for SpendingRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parameter = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let spending = match text {
            "obrien-fleming" => Some(Spending::ObrienFleming),
            "pocock" => Some(Spending::Pocock),
            _ => parameter("power:")
                .map(|rho| Spending::Power { rho })
                .or_else(|| parameter("hsd:").map(|gamma| Spending::HwangShihDecani { gamma })),
        };
        spending
            .map(Self)
            .ok_or_else(|| "must be obrien-fleming, pocock, power:<exponent> or hsd:<gamma>".to_owned())
    }
}

fn list_of_numbers(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(|part| part.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_absolute_or_relative() {
        let absolute = |text: &str| {
            text.parse::<Size>()
                .unwrap()
                .absolute("--effect", Some(-4.0))
                .unwrap()
        };
        assert!((absolute("-0.5") + 0.5).abs() < 1e-15 && (absolute("10%") - 0.4).abs() < 1e-15);
        assert!("10%".parse::<Size>().unwrap().absolute("--effect", None).is_err());
        assert!("nan".parse::<Size>().is_err() && "ten".parse::<Size>().is_err());
    }

    #[test]
    fn lists_and_words_are_told_apart() {
        assert_eq!(
            "50, 25,25".parse::<Shares>().unwrap(),
            Shares::List(vec![50.0, 25.0, 25.0])
        );
        assert!("fair".parse::<Shares>().is_err() && "many".parse::<Looks>().is_err());
        assert_eq!("5".parse::<Looks>().unwrap(), Looks::Number(5));
        assert_eq!("0.5,1".parse::<Looks>().unwrap(), Looks::Shares(vec![0.5, 1.0]));
        let hsd = SpendingRule(Spending::HwangShihDecani { gamma: -4.0 });
        assert_eq!("hsd:-4".parse::<SpendingRule>().unwrap(), hsd);
        assert!("hsd".parse::<SpendingRule>().is_err());
    }
}
