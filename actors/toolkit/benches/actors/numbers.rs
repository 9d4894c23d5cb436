//! Medians over rounds, and one line of the table.

/// What one measurement gave, round by round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Divides round by round, as the two were measured side by side.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        quantile(&mut self.0.clone(), 0.5)
    }

    fn shown(&self, decimals: usize) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(greatest)) = (sorted.first(), sorted.last()) else {
            return "-".to_owned();
        };
        let median = self.median();
        format!("{median:.decimals$} ({least:.decimals$} to {greatest:.decimals$})")
    }
}

/// Returns a quantile of what was measured, by the nearest rank.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among thousands"
)]
pub(crate) fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let rank = (last as f64 * quantile).round() as usize;
    values.get(rank).copied().unwrap_or(f64::NAN)
}

/// Prints one line: ours, theirs, and the ratio of the two.
pub(crate) fn row(name: &str, unit: &str, ours: &Rounds, theirs: Option<&Rounds>, goal: &str) {
    let decimals = usize::from(unit != "ns") + usize::from(unit == "x");
    let kebne = format!("{} {unit}", ours.shown(decimals));
    let (actix, ratio) = match theirs {
        Some(theirs) => (
            format!("{} {unit}", theirs.shown(decimals)),
            ours.over(theirs).shown(2),
        ),
        None => ("-".to_owned(), "-".to_owned()),
    };
    println!("{name:<44} {kebne:>28} {actix:>28} {ratio:>19}  {goal}");
}
