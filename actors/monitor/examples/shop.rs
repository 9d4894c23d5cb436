//! A shop that watches its payment service: an outage of some seconds, told in sentences. Run it with
//! `cargo run -p kebne-monitor --example shop`.

use std::{
    io::{self, Write},
    time::Duration,
};

use kebne_monitor::{LaneSample, Phase, RuleSettings, Sample, Watch};

fn main() -> io::Result<()> {
    let mut watch = Watch::new(RuleSettings::default());
    let mut output = io::stdout().lock();
    // Two minutes, a second at a time: the service is down from the twentieth second to the eightieth.
    for second in 0..120 {
        let is_down = (20..80).contains(&second);
        let lane = LaneSample {
            name: "payments".into(),
            phase: if is_down {
                Phase::Broken
            } else {
                Phase::Serving
            },
            last_failure: is_down.then(|| "connection refused".into()),
            ..LaneSample::default()
        };
        let sample = Sample {
            at: Duration::from_secs(second),
            unix_seconds: second,
            lanes: vec![lane],
            ..Sample::default()
        };
        for changed in watch.take(&sample) {
            let alert = changed.alert;
            writeln!(
                output,
                "second {second}: {:?} {}",
                changed.change,
                alert.rule.name()
            )?;
            writeln!(output, "  {}\n  {}", alert.sentence, alert.action)?;
        }
    }
    Ok(())
}
