//! `within_radius`: places within a distance of a point.

use serde_json::Value;

use super::Outcome;
use crate::rules::context::Attribute;

/// The mean radius of the Earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// A disc on the Earth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Radius {
    centre: Point,
    radius_km: f64,
}

/// A place in radians.
#[derive(Debug, Clone, Copy)]
struct Point {
    latitude: f64,
    longitude: f64,
}

impl Radius {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        const SHAPE: &str =
            "the operator takes {\"latitude\", \"longitude\", \"radius_km\"} in degrees and kilometres";
        let centre = Point::read(value).ok_or(SHAPE)?;
        let radius_km = value
            .get("radius_km")
            .and_then(Value::as_f64)
            .filter(|radius| *radius >= 0.0);
        Ok(Self {
            centre,
            radius_km: radius_km.ok_or(SHAPE)?,
        })
    }

    pub(super) fn check(self, attribute: Attribute<'_>) -> Outcome {
        let Attribute::Value(value) = attribute else {
            return Outcome::WrongType;
        };
        match Point::read(value) {
            Some(point) => (self.centre.distance_km(point) <= self.radius_km).into(),
            None => Outcome::WrongType,
        }
    }
}

impl Point {
    /// Reads degrees from an object.
    fn read(value: &Value) -> Option<Self> {
        let degrees = |name: &str, limit: f64| {
            value
                .get(name)
                .and_then(Value::as_f64)
                .filter(|degrees| degrees.abs() <= limit)
        };
        Some(Self {
            latitude: degrees("latitude", 90.0)?.to_radians(),
            longitude: degrees("longitude", 180.0)?.to_radians(),
        })
    }

    /// The great-circle distance (haversine formula).
    fn distance_km(self, other: Self) -> f64 {
        let half_latitude = ((other.latitude - self.latitude) / 2.0).sin();
        let half_longitude = ((other.longitude - self.longitude) / 2.0).sin();
        let squared =
            half_latitude.powi(2) + self.latitude.cos() * other.latitude.cos() * half_longitude.powi(2);
        2.0 * EARTH_RADIUS_KM * squared.clamp(0.0, 1.0).sqrt().asin()
    }
}
