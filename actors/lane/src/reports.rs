//! The last reports of a lane's actors, for operators who look while the actors do not answer.

use std::sync::{Arc, Mutex, PoisonError};

use kebne_control::{ControllerReport, PoolReport, Timestamp};

use crate::snapshot::{PastVerdict, Question};

/// Questions that may wait for the lane's actors. A timed-out question stays in its mailbox until the actor handles it, so an
/// actor that hangs would collect one for each look of an operator.
const QUESTIONS_MAX: usize = 64;

/// The last reports of a lane's actors.
#[derive(Debug)]
pub(crate) struct LastReports {
    last: Mutex<Arc<Reports>>,
    question: Question,
}

/// The reports of a lane's actors at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) at: Timestamp,
    pub(crate) controller: ControllerReport,
    pub(crate) verdicts: Vec<PastVerdict>,
    pub(crate) states: Vec<String>,
    pub(crate) pool: PoolReport,
    pub(crate) workers: usize,
    pub(crate) workers_idle: usize,
}

impl LastReports {
    /// Creates the reports of a lane whose actors have not started yet.
    pub(crate) fn new(now: Timestamp, controller: ControllerReport, pool: PoolReport) -> Self {
        let reports = Reports {
            at: now,
            controller,
            verdicts: Vec::new(),
            states: Vec::new(),
            pool,
            workers: 0,
            workers_idle: 0,
        };
        Self {
            last: Mutex::new(Arc::new(reports)),
            question: Question::default(),
        }
    }

    /// Returns a question to be held by the messages of one look; `None` if too many are waiting.
    pub(crate) fn ask(&self) -> Option<Question> {
        let is_free = self.question.waiting() < QUESTIONS_MAX;
        is_free.then(|| self.question.clone())
    }

    pub(crate) fn last(&self) -> Arc<Reports> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&last)
    }

    /// Keeps reports. Of two looks at once, the later one counts.
    pub(crate) fn keep(&self, reports: Reports) -> Arc<Reports> {
        let reports = Arc::new(reports);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at <= reports.at {
            *last = Arc::clone(&reports);
        }
        reports
    }
}
