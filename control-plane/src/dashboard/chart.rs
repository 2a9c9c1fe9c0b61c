//! Charts: a series of numbers becomes an SVG and the table behind it. Pure; no script draws.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;

use super::moment::{Moment, When};
use super::parts::grouped;

/// Units of the drawing; it is stretched to its place.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// As the legend says it.
    pub(crate) name: &'static str,
    /// One value a step, oldest first; none where nothing is known.
    pub(crate) values: Vec<Option<f64>>,
}

/// What is drawn: rates per second over time.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Unique in its page.
    pub(crate) id: &'static str,
    /// Told to those who do not see it.
    pub(crate) title: &'static str,
    /// The beginning of the first step.
    pub(crate) from: Moment,
    /// Length of a step, milliseconds.
    pub(crate) step_ms: u64,
    /// One or two, equally long.
    pub(crate) series: Vec<Series>,
}

/// A chart, drawn.
#[derive(Template)]
#[template(path = "chart.html")]
pub(crate) struct Chart {
    id: &'static str,
    title: &'static str,
    description: String,
    /// Labels beside the plot, the highest first.
    scale: [String; 3],
    /// Labels below it.
    times: [String; 3],
    lines: Vec<Line>,
    /// Newest first.
    rows: Vec<Row>,
    empty: bool,
}

impl HtmlSafe for Chart {}

struct Line {
    name: &'static str,
    class: &'static str,
    line: String,
    area: String,
}

struct Row {
    at: When,
    values: Vec<String>,
}

impl Plot {
    /// Draws it.
    pub(crate) fn draw(&self) -> Chart {
        let top = nice(self.series.iter().flat_map(|series| &series.values));
        let steps = self.series.first().map_or(0, |series| series.values.len());
        let end = self.at(steps);
        let lines = self.series.iter().zip(["s0", "s1"]);
        let lines = lines.map(|(series, class)| Line {
            name: series.name,
            class,
            line: line(&series.values, top),
            area: area(&series.values, top),
        });
        Chart {
            id: self.id,
            title: self.title,
            description: self.description(),
            scale: [rate(top), rate(top / 2.0), "0".to_owned()],
            times: [
                self.at(0).short_clock(),
                self.at(steps / 2).short_clock(),
                end.short_clock(),
            ],
            lines: lines.collect(),
            rows: (0..steps).rev().map(|step| self.row(step, end)).collect(),
            empty: self
                .series
                .iter()
                .all(|s| s.values.iter().all(Option::is_none)),
        }
    }

    fn at(&self, step: usize) -> Moment {
        Moment(self.from.0 + step as u64 * self.step_ms)
    }

    fn row(&self, step: usize, now: Moment) -> Row {
        let value = |series: &Series| match series.values.get(step) {
            Some(Some(value)) => rate(*value),
            _ => "no data".to_owned(),
        };
        Row {
            at: self.at(step).at(now),
            values: self.series.iter().map(value).collect(),
        }
    }

    /// The same in words: how high each line goes and where it ends.
    fn description(&self) -> String {
        let mut text = String::new();
        for series in &self.series {
            let known = series.values.iter().enumerate();
            let known = known.filter_map(|(step, value)| value.map(|value| (step, value)));
            let Some((step, highest)) = known.max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
                let _infallible = write!(text, "{}: no data. ", series.name);
                continue;
            };
            let last = series.values.iter().rev().flatten().next();
            let _infallible = write!(
                text,
                "{}: highest {} at {}, last {}. ",
                series.name,
                rate(highest),
                self.at(step).short_clock(),
                rate(last.copied().unwrap_or_default()),
            );
        }
        text.trim_end().to_owned()
    }
}

/// The top of the scale: the smallest of 1, 2, 5 times a power of ten that nothing exceeds.
fn nice<'a>(values: impl Iterator<Item = &'a Option<f64>>) -> f64 {
    let highest = values.flatten().copied().fold(0.0, f64::max);
    if highest <= 0.0 || !highest.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(highest.log10().floor());
    let fits = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    fits.into_iter()
        .find(|top| *top >= highest)
        .unwrap_or(10.0 * power)
}

/// Where a value lies in the drawing.
fn point(step: usize, steps: usize, value: f64, top: f64) -> (f64, f64) {
    let last = steps.saturating_sub(1).max(1);
    (
        WIDTH * step as f64 / last as f64,
        HEIGHT - HEIGHT * (value / top).clamp(0.0, 1.0),
    )
}

/// Runs of known values, each with the step it begins at. What is unknown stays a gap.
fn runs(values: &[Option<f64>]) -> Vec<(usize, Vec<f64>)> {
    let mut runs: Vec<(usize, Vec<f64>)> = Vec::new();
    let mut open = false;
    for (step, value) in values.iter().enumerate() {
        match (value, runs.last_mut().filter(|_| open)) {
            (Some(value), Some((_, run))) => run.push(*value),
            (Some(value), None) => runs.push((step, vec![*value])),
            (None, _) => {}
        }
        open = value.is_some();
    }
    runs
}

fn line(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    for (start, run) in runs(values) {
        for (offset, value) in run.iter().enumerate() {
            let (x, y) = point(start + offset, values.len(), *value, top);
            let letter = if offset == 0 { 'M' } else { 'L' };
            let _infallible = write!(path, "{letter}{x:.1} {y:.1}");
        }
        if run.len() == 1 {
            // A line of no length has round ends: a dot.
            path.push_str("h0");
        }
    }
    path
}

fn area(values: &[Option<f64>], top: f64) -> String {
    let mut path = String::new();
    for (start, run) in runs(values) {
        if run.len() < 2 {
            continue;
        }
        for (offset, value) in run.iter().enumerate() {
            let (x, y) = point(start + offset, values.len(), *value, top);
            let letter = if offset == 0 { 'M' } else { 'L' };
            let _infallible = write!(path, "{letter}{x:.1} {y:.1}");
        }
        let (end, _) = point(start + run.len() - 1, values.len(), 0.0, top);
        let (begin, _) = point(start, values.len(), 0.0, top);
        let _infallible = write!(path, "L{end:.1} {HEIGHT}L{begin:.1} {HEIGHT}Z");
    }
    path
}

/// A rate per second in as many digits as it deserves.
pub(crate) fn rate(value: f64) -> String {
    let text = match value {
        value if value <= 0.0 => return "0".to_owned(),
        value if value >= 100.0 => return format!("{}/s", grouped(value.round() as u64)),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.01 => format!("{value:.2}"),
        _ => return "< 0.01/s".to_owned(),
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: Vec<Option<f64>>) -> Plot {
        Plot {
            id: "chart",
            title: "Delivered per second",
            from: Moment(1_700_000_000_000),
            step_ms: 60_000,
            series: vec![Series {
                name: "Delivered",
                values,
            }],
        }
    }

    #[test]
    fn the_scale_is_a_round_number_that_nothing_exceeds() {
        let top = |value: f64| nice([Some(value)].iter());
        assert_eq!(
            [0.0, 0.3, 1.0, 1.2, 4.0, 7.0, 19.0, 60.0].map(top),
            [1.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 100.0]
        );
    }

    #[test]
    fn a_gap_stays_a_gap_and_a_lone_value_is_a_dot() {
        let values = [
            Some(1.0),
            Some(2.0),
            None,
            Some(2.0),
            None,
            Some(0.0),
            Some(1.0),
        ];
        let path = line(&values, 2.0);
        assert_eq!(path.matches('M').count(), 3);
        assert_eq!(path.matches("h0").count(), 1);
        assert_eq!(area(&values, 2.0).matches('Z').count(), 2);
    }

    #[test]
    fn the_table_holds_what_the_drawing_shows() {
        let html = plot(vec![Some(1.5), None, Some(1204.0)]).draw().to_string();
        for text in ["1.5/s", "no data", "1,204/s", "<title", "<desc"] {
            assert!(html.contains(text), "{text} is missing in {html}");
        }
        assert!(!html.contains("style="), "no inline style");
    }

    #[test]
    fn rates_have_as_many_digits_as_they_deserve() {
        assert_eq!(
            [0.0, 0.001, 0.05, 1.5, 12.34, 250.4].map(rate),
            ["0", "< 0.01/s", "0.05/s", "1.5/s", "12.3/s", "250/s"]
        );
    }
}
