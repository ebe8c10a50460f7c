//! The report: rows that state a claim beside what was measured, and plots as plain SVG.

use std::fmt::Write as _;

/// What a method promises of a measured share.
#[derive(Debug, Clone, Copy)]
pub enum Claim {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// This.
    About(f64),
    /// Nothing: shown to compare with.
    Nothing,
}

/// One line of a table.
pub struct Row {
    /// What was simulated.
    pub what: String,
    /// What is promised.
    pub claim: Claim,
    /// How often it happened.
    pub hits: usize,
    /// Out of how many.
    pub runs: usize,
}

/// Standard errors of the simulation that a measured share may stray from its claim.
const ALLOWED_ERRORS: f64 = 3.0;

impl Row {
    /// A row from its parts.
    pub fn new(what: impl Into<String>, claim: Claim, hits: usize, runs: usize) -> Self {
        Self {
            what: what.into(),
            claim,
            hits,
            runs,
        }
    }

    /// The measured share.
    pub fn share(&self) -> f64 {
        self.hits as f64 / self.runs.max(1) as f64
    }

    /// Whether the claim holds within the error of the simulation.
    pub fn holds(&self) -> bool {
        let error = |truth: f64| ALLOWED_ERRORS * (truth * (1.0 - truth) / self.runs.max(1) as f64).sqrt();
        self.runs > 0
            && match self.claim {
                Claim::AtMost(limit) => self.share() <= limit + error(limit),
                Claim::AtLeast(limit) => self.share() >= limit - error(limit),
                Claim::About(truth) => (self.share() - truth).abs() <= error(truth),
                Claim::Nothing => true,
            }
    }
}

/// The text of the report so far, and whether every claim held.
#[derive(Default)]
pub struct Report {
    /// Markdown.
    pub text: String,
    /// What did not hold.
    pub broken: Vec<String>,
}

impl Report {
    /// Adds a paragraph.
    pub fn say(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str("\n\n");
    }

    /// Adds a table of claims.
    pub fn claims(&mut self, rows: &[Row]) {
        self.text
            .push_str("| what | promised | measured | ± | runs | |\n| --- | --- | --- | --- | --- | --- |\n");
        for row in rows {
            let promised = match row.claim {
                Claim::AtMost(limit) => format!("≤ {limit}"),
                Claim::AtLeast(limit) => format!("≥ {limit}"),
                Claim::About(truth) => format!("{truth:.3}"),
                Claim::Nothing => "nothing".to_owned(),
            };
            let share = row.share();
            let error = 1.96 * (share * (1.0 - share) / row.runs.max(1) as f64).sqrt();
            let mark = match (row.holds(), row.claim) {
                (_, Claim::Nothing) => "",
                (true, _) => "holds",
                (false, _) => "**broken**",
            };
            if !row.holds() {
                self.broken
                    .push(format!("{}: {share:.4}, promised {promised}", row.what));
            }
            let _ = writeln!(
                self.text,
                "| {} | {promised} | {share:.4} | {error:.4} | {} | {mark} |",
                row.what, row.runs
            );
        }
        self.text.push('\n');
    }

    /// Adds a table of text.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let _ = writeln!(self.text, "| {} |", head.join(" | "));
        let _ = writeln!(self.text, "|{}", " --- |".repeat(head.len()));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
        self.text.push('\n');
    }
}

/// A curve of a plot.
pub struct Curve {
    /// Its name in the legend.
    pub name: &'static str,
    /// Its points, x ascending.
    pub points: Vec<[f64; 2]>,
}

/// Colours that people with colour blindness can tell apart (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;

/// What stands around the curves.
pub struct Frame {
    /// Above the plot.
    pub title: &'static str,
    /// Below the horizontal axis.
    pub x_label: &'static str,
    /// The upper end of the vertical axis, which starts at 0.
    pub y_max: f64,
    /// A level to mark, if any.
    pub mark: Option<f64>,
}

/// A line plot.
pub fn plot(frame: &Frame, curves: &[Curve]) -> String {
    let last = curves
        .iter()
        .flat_map(|curve| curve.points.iter())
        .fold(0.0_f64, |max, point| max.max(point[0]));
    let x_at = |x: f64| LEFT + x / last.max(1e-300) * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| HEIGHT - BOTTOM - y.min(frame.y_max) / frame.y_max * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        frame.title
    );
    for step in 0..=5 {
        let share = f64::from(step) / 5.0;
        let (x, y) = (share * last, share * frame.y_max);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y1:.1}\" y2=\"{y1:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y_at(y) + 4.0,
            short(y),
            x_at(x),
            HEIGHT - BOTTOM + 18.0,
            short(x),
            y1 = y_at(y),
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0,
        frame.x_label
    );
    if let Some(level) = frame.mark {
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#333\" stroke-dasharray=\"5 4\"/>",
            WIDTH - RIGHT,
            y = y_at(level),
        );
    }
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = curve
            .points
            .iter()
            .map(|[x, y]| format!("{:.1},{:.1}", x_at(*x), y_at(*y)))
            .collect();
        let y = TOP + 18.0 * index as f64 + 8.0;
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\
             <rect x=\"{}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            points.join(" "),
            WIDTH - RIGHT + 10.0,
            y - 6.0,
            WIDTH - RIGHT + 30.0,
            y,
            curve.name,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn short(value: f64) -> String {
    if value >= 10_000.0 {
        format!("{}k", (value / 1_000.0).round())
    } else if value >= 10.0 {
        format!("{}", value.round())
    } else {
        format!("{}", (value * 1_000.0).round() / 1_000.0)
    }
}
