//! Every case of the suite as a test of its own: Kebne must pass each.

use std::path::PathBuf;

use kebne_tck::{case::Failure, registry, runner::Runner};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    // Cases make actors panic on purpose; the verdicts say what matters of it.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments = Arguments::from_args();
    let runner = Runner::new(PathBuf::from(env!("CARGO_BIN_EXE_kebne-tck")));
    let kebne = registry::libraries().swap_remove(0);
    let trials = registry::cases().into_iter().map(|case| {
        let (runner, kebne) = (runner.clone(), kebne.clone());
        let name = format!("{}::{}", case.level, case.name);
        Trial::test(name, move || match runner.run(&kebne, &case) {
            Ok(()) => Ok(()),
            Err(Failure::Failed(why)) => Err(Failed::from(why)),
            Err(Failure::NotApplicable(why)) => Err(Failed::from(format!(
                "not applicable to Kebne itself: {why}"
            ))),
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
