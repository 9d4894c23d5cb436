//! The table of what was measured.

use std::fmt::Write as _;

/// What was measured of one gateway; times in seconds.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) cpu_per_call: f64,
    pub(crate) calls_per_second: f64,
    pub(crate) p50: f64,
    pub(crate) first_part: f64,
    pub(crate) first_part_p99: f64,
    pub(crate) cpu_per_stream: f64,
    pub(crate) parts_per_second: f64,
    /// After the start and at its peak, in MiB.
    pub(crate) memory: (f64, f64),
    pub(crate) errors: f64,
}

/// Writes the rows, and below each gateway its ratios to nginx.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "          CPU per 1000   calls/s   p50 at 1   TTFT at 1   TTFT p99 at 64   CPU per stream    parts/s        MiB   errors\n",
    );
    for row in rows {
        let (idle, peak) = row.memory;
        line(
            &mut text,
            format_args!(
                "{:<8}  {:>9.1} ms  {:>8.0}  {:>6.0} us  {:>7.0} us  {:>11.1} ms  {:>11.2} ms  {:>9.0}  {idle:>4.0}/{peak:<4.0}  {:>6}",
                row.name,
                row.cpu_per_call * 1e6,
                row.calls_per_second,
                row.p50 * 1e6,
                row.first_part * 1e6,
                row.first_part_p99 * 1e3,
                row.cpu_per_stream * 1e3,
                row.parts_per_second,
                row.errors,
            ),
        );
    }
    let of = |name: &str| rows.iter().find(|row| row.name == name);
    if let (Some(direct), Some(nginx), Some(kebne)) = (of("direct"), of("nginx"), of("kebne")) {
        let added =
            |read: fn(&Row) -> f64| (read(kebne) - read(direct)) / (read(nginx) - read(direct));
        let ratio = |read: fn(&Row) -> f64| read(kebne) / read(nginx);
        line(
            &mut text,
            format_args!(
                "kebne to nginx: CPU {:.2}, calls/s {:.2}, added p50 {:.2}, added TTFT {:.2}, TTFT p99 at 64 {:.2}, CPU per stream {:.2}, parts/s {:.2}",
                ratio(|row| row.cpu_per_call),
                ratio(|row| row.calls_per_second),
                added(|row| row.p50),
                added(|row| row.first_part),
                ratio(|row| row.first_part_p99),
                ratio(|row| row.cpu_per_stream),
                ratio(|row| row.parts_per_second),
            ),
        );
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    writeln!(text, "{line}").ok();
}
