//! The operations of the `OpenAI` dialect.

/// The operation of the `OpenAI` dialect that a call requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// An operation for which only the model's name is read.
    PassThrough(PassThrough),
}

/// The operations for which only the model's name is read. Their answers are passed on unchanged and as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PassThrough {
    /// `POST /v1/audio/speech`.
    Speech,
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// `POST /v1/images/generations`.
    Images,
    /// `POST /v1/rerank`.
    Rerank,
    /// `POST /v1/moderations`.
    Moderations,
    /// `POST /v1/functions/{name}`: a call of a function, whose body is not that of a dialect.
    Function,
    /// A call of a tool of an MCP server.
    Tool,
    /// An operation without a model, which [`ModelRequest::direct`](crate::ModelRequest::direct) names.
    Direct,
}

impl PassThrough {
    /// Returns the path under the API's base, without a leading slash.
    pub fn path(self) -> &'static str {
        match self {
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
            Self::Translations => "audio/translations",
            Self::Images => "images/generations",
            Self::Rerank => "rerank",
            Self::Moderations => "moderations",
            Self::Function => "functions",
            Self::Tool => "mcp",
            Self::Direct => "",
        }
    }
}

impl Endpoint {
    /// Returns `true` if the operation generates text token by token.
    pub fn generates(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// Returns the operation's name as OpenTelemetry's conventions for generative AI have it; those that the conventions
    /// do not name have names of the same form.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            Self::PassThrough(operation) => match operation {
                PassThrough::Speech => "speech",
                PassThrough::Transcriptions => "transcription",
                PassThrough::Translations => "translation",
                PassThrough::Images => "image_generation",
                PassThrough::Rerank => "rerank",
                PassThrough::Moderations => "moderation",
                PassThrough::Function => "function",
                PassThrough::Tool => "execute_tool",
                PassThrough::Direct => "direct",
            },
        }
    }

    /// Returns the path under the API's base, without a leading slash.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::PassThrough(operation) => operation.path(),
        }
    }
}
