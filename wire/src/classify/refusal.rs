//! The refusals of a request that another model may accept.

use super::{
    error_text::ErrorText,
    words::{CONTENT_REFUSED, CONTEXT_EXCEEDED, FLAGGED, NO_SUCH_MODEL},
};

/// What a refused request would need of another model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    /// A longer context.
    ContextLength,
    /// Other rules for content.
    ContentPolicy,
    /// A server that has the model.
    Model,
}

/// Returns what a request would need to be accepted that a server has refused with this body; `None` if no other model
/// would accept it either, or that is not known.
pub fn refused_for(body: &[u8]) -> Option<RefusedFor> {
    let error = ErrorText::read(body);
    if error.has(&CONTEXT_EXCEEDED) {
        return Some(RefusedFor::ContextLength);
    }
    if error.has(&FLAGGED) || error.has(&CONTENT_REFUSED) || error.is_flagged() {
        return Some(RefusedFor::ContentPolicy);
    }
    error.has(&NO_SUCH_MODEL).then_some(RefusedFor::Model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_is_too_long_is_known_from_each_server() {
        for body in [
            // OpenAI
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            // vLLM
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}"#,
            // Anthropic
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}"#,
            // llama.cpp
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error"}}"#,
            // Gemini
            r#"[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
            // TGI
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000","error_type":"validation"}"#,
        ] {
            let kind = refused_for(body.as_bytes());
            assert_eq!(kind, Some(RefusedFor::ContextLength), "{body}");
        }
    }

    #[test]
    fn a_refusal_for_the_content_is_known_from_each_server() {
        for body in [
            // Azure
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","code":"content_filter","status":400}}"#,
            // OpenAI
            r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy.","type":"invalid_request_error","code":"invalid_prompt"}}"#,
            r#"{"error":{"message":"Your request was rejected as a result of our safety system.","code":"content_policy_violation"}}"#,
        ] {
            let kind = refused_for(body.as_bytes());
            assert_eq!(kind, Some(RefusedFor::ContentPolicy), "{body}");
        }
    }

    #[test]
    fn a_caller_s_own_mistake_is_not_one_of_them() {
        let model =
            r#"{"error":{"message":"The model `gpt-9` does not exist","code":"model_not_found"}}"#;
        assert_eq!(refused_for(model.as_bytes()), Some(RefusedFor::Model));
        for body in [
            r#"{"error":{"message":"'temperature' must be at most 2","type":"invalid_request_error","param":"temperature"}}"#,
            r#"{"error":{"message":"max_tokens must be at least 1","code":null}}"#,
            "",
            "not json",
        ] {
            assert_eq!(refused_for(body.as_bytes()), None, "{body}");
        }
    }
}
