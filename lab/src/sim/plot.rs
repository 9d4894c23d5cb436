//! Plots limit and true capacity over time as an SVG file.

use crate::sim::ledger::Moment;
use crate::sim::number::real;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 34.0;

/// Draws one run.
pub(crate) fn svg(title: &str, moments: &[Moment]) -> String {
    let end = moments.last().map_or(1.0, |moment| moment.time.max(1.0));
    let capacity_peak = moments.iter().map(|m| real(m.capacity)).fold(1.0, f64::max);
    let limit_peak = moments.iter().map(|m| m.limit).fold(1.0, f64::max);
    // A very high limit is cut off, so that the capacity stays visible.
    let peak = limit_peak.min(4.0 * capacity_peak).max(capacity_peak) * 1.05;
    let x = |time: f64| LEFT + (WIDTH - LEFT - 10.0) * time / end;
    let y = |value: f64| TOP + (HEIGHT - TOP - 26.0) * (1.0 - (value / peak).min(1.0));
    let line = |get: &dyn Fn(&Moment) -> f64, colour: &str, width: f64| {
        let points: Vec<String> = moments
            .iter()
            .map(|m| format!("{:.1},{:.1}", x(m.time), y(get(m))))
            .collect();
        format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" points=\"{}\"/>",
            points.join(" ")
        )
    };
    let mut parts = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">"
        ),
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>".to_owned(),
        format!(
            "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>",
            escape(title)
        ),
    ];
    for step in 0..=4 {
        let value = peak * f64::from(step) / 4.0;
        let (right, at) = (WIDTH - 10.0, y(value));
        parts.push(format!(
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"4\" y=\"{:.1}\">{value:.0}</text>",
            at + 4.0
        ));
        let time = end * f64::from(step) / 4.0;
        parts.push(format!(
            "<text x=\"{:.1}\" y=\"{}\">{time:.0} s</text>",
            x(time) - 14.0,
            HEIGHT - 8.0
        ));
    }
    parts.push(line(&|m| real(m.capacity), "#999", 3.0));
    parts.push(line(&|m| f64::from(m.in_flight), "#8bbf6a", 1.0));
    parts.push(line(&|m| m.limit, "#c0392b", 1.5));
    let legend = [
        ("true capacity", "#999"),
        ("in flight", "#8bbf6a"),
        ("limit", "#c0392b"),
    ];
    for (index, (name, colour)) in legend.iter().enumerate() {
        parts.push(format!(
            "<text x=\"{:.0}\" y=\"20\" fill=\"{colour}\">{name}</text>",
            WIDTH - 290.0 + 100.0 * real(index)
        ));
    }
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
