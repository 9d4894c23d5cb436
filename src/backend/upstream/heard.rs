//! What every answer of a server brings besides its content, and what follows from it.

use std::time::SystemTime;

use http::HeaderMap;
use kebne_control::QuotaHints;
use kebne_lane::{Answer, Failure};
use kebne_wire::quota;

use crate::{backend::failure, backend::upstream::Upstream, llm::ModelResponse};

/// What the head of an answer tells: the server's quota, and the headers that are passed on.
#[derive(Debug)]
pub(crate) struct Heard {
    quota: QuotaHints,
    headers: HeaderMap,
}

impl Upstream {
    /// Reads the head of an answer.
    pub(crate) fn heard(&self, head: &HeaderMap) -> Heard {
        Heard {
            quota: quota::hints(head, SystemTime::now()),
            headers: self.passed(head),
        }
    }

    /// Notes that the server works, and adds to an answer what was heard.
    pub(crate) fn answered(
        &self,
        mut answer: Answer<ModelResponse>,
        heard: Heard,
    ) -> Answer<ModelResponse> {
        self.worked();
        answer.quota = heard.quota;
        answer.response.headers = heard.headers;
        answer
    }

    /// Logs a failed answer, and adds to the failure what was heard.
    pub(crate) fn failed(&self, mut failure: Failure, heard: Heard, request_id: &str) -> Failure {
        failure.quota = heard.quota;
        self.report(&mut failure, request_id);
        failure::with_headers(failure, heard.headers)
    }
}
