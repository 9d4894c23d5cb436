//! The steps of `docs/from-actix-steps.md`: each compiles and runs.

#[cfg(test)]
#[path = "../steps/step0.rs"]
mod step0;
#[cfg(test)]
#[path = "../steps/step1.rs"]
mod step1;
#[cfg(test)]
#[path = "../steps/step2.rs"]
mod step2;
#[cfg(test)]
#[path = "../steps/step3.rs"]
mod step3;
#[cfg(test)]
#[path = "../steps/step4.rs"]
mod step4;

#[actix::test]
async fn step_0_runs() {
    step0::check().await;
}

#[actix::test]
async fn step_1_runs() {
    step1::check().await;
}

#[actix::test]
async fn step_2_runs() {
    step2::check().await;
}

#[actix::test]
async fn step_3_runs() {
    step3::check().await;
}

#[actix::test]
async fn step_4_runs() {
    step4::check().await;
}
