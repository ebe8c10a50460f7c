//! Intervals drawn in text, all of them on one scale so that the eye can compare them.

/// How many characters a drawing is wide; odd, so that 0 stands in the middle.
pub const WIDTH: usize = 41;

/// What is drawn: an estimate, and two intervals around it. A side without a bound goes to the edge.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drawn {
    /// The point.
    pub estimate: Option<f64>,
    /// The ends of the interval in brackets.
    pub outer: Option<(f64, f64)>,
    /// The ends of the thick part within.
    pub inner: Option<(f64, f64)>,
}

/// The distance from 0 to either edge that shows every end; at most `limit`, beyond which an arrow says that there is more.
pub fn scale(all: &[Drawn], limit: f64) -> f64 {
    let ends = all.iter().flat_map(|drawn| {
        let outer = drawn
            .outer
            .map_or([None; 2], |(lower, upper)| [Some(lower), Some(upper)]);
        outer.into_iter().chain([drawn.estimate]).flatten()
    });
    let largest = ends
        .filter(|end| end.is_finite())
        .map(f64::abs)
        .fold(0.0, f64::max);
    if largest > 0.0 { largest.min(limit) } else { limit }
}

/// Draws on a scale from `-edge` to `edge`: `─` the line, `│` zero, `[` and `]` the outer interval, `=` the inner one,
/// `●` the estimate, `<` and `>` an end beyond the edge.
pub fn draw(drawn: Drawn, edge: f64) -> String {
    let mut cells = ['─'; WIDTH];
    if let Some((lower, upper)) = drawn.inner {
        let (from, to) = (place(lower, edge).cell, place(upper, edge).cell);
        cells[from..=to].fill('=');
    }
    cells[WIDTH / 2] = '│';
    if let Some((lower, upper)) = drawn.outer {
        let (lower, upper) = (place(lower, edge), place(upper, edge));
        cells[lower.cell] = if lower.beyond { '<' } else { '[' };
        cells[upper.cell] = if upper.beyond { '>' } else { ']' };
    }
    if let Some(estimate) = drawn.estimate.filter(|estimate| estimate.is_finite()) {
        let place = place(estimate, edge);
        if !place.beyond {
            cells[place.cell] = '●';
        }
    }
    cells.iter().collect()
}

struct Place {
    cell: usize,
    beyond: bool,
}

fn place(value: f64, edge: f64) -> Place {
    let half = (WIDTH / 2) as f64;
    let from_zero = (value / edge * half).round();
    let held = from_zero.clamp(-half, half);
    // A hair over the edge is the edge: the scale is made of the ends themselves.
    let beyond = value.abs() > edge * (1.0 + 1e-9);
    // Between 0 and twice the half, so the cast is exact.
    Place {
        cell: (held + half) as usize,
        beyond,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(drawn: Drawn, edge: f64, expected: &str) {
        assert_eq!(draw(drawn, edge), expected);
    }

    #[test]
    fn intervals_stand_where_their_ends_are() {
        // What must never change: who sees the zero line outside the brackets may call the effect real.
        let drawn = Drawn {
            estimate: Some(0.5),
            outer: Some((0.1, 0.9)),
            inner: Some((0.3, 0.7)),
        };
        check(drawn, 1.0, "────────────────────│─[───====●====───]──");
        let around_zero = Drawn {
            estimate: Some(0.0),
            outer: Some((-1.0, 1.0)),
            inner: None,
        };
        check(around_zero, 1.0, "[───────────────────●───────────────────]");
        check(Drawn::default(), 1.0, "────────────────────│────────────────────");
    }

    #[test]
    fn what_lies_beyond_the_edge_is_an_arrow() {
        let drawn = Drawn {
            estimate: Some(3.0),
            outer: Some((-0.5, f64::INFINITY)),
            inner: Some((1.5, 4.0)),
        };
        check(drawn, 1.0, "──────────[─────────│───────────────────>");
        let left = Drawn {
            estimate: Some(-0.9),
            outer: Some((-2.0, -0.8)),
            inner: None,
        };
        check(left, 1.0, "<─●─]───────────────│────────────────────");
    }

    #[test]
    fn the_scale_shows_every_end_up_to_its_limit() {
        let narrow = Drawn {
            estimate: Some(0.1),
            outer: Some((-0.05, 0.3)),
            inner: None,
        };
        let wide = Drawn {
            estimate: Some(0.1),
            outer: Some((-0.9, 4.0)),
            inner: None,
        };
        let close = |left: f64, right: f64| (left - right).abs() < 1e-12;
        assert!(close(scale(&[narrow], 1.0), 0.3));
        assert!(close(scale(&[narrow, wide], 1.0), 1.0));
        assert!(close(scale(&[], 1.0), 1.0));
    }
}
