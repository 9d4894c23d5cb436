"""A server of the Model Context Protocol with the tools that the official conformance suite calls, on the official package for Python.

It is spoken with by its standard input and output: the gateway starts it.
"""

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp import types

# A picture of one point and a sound of one sample.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAD//w=="
NOTHING = {"type": "object", "properties": {}}
# What a schema of the draft 2020-12 has that must not be lost on its way.
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
# An argument that clients repeat in a header.
IN_HEADER = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


def text(value):
    return types.TextContent(type="text", text=value)


def resource(uri, value):
    contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=value)
    return types.EmbeddedResource(type="resource", resource=contents)


def picture():
    return types.ImageContent(type="image", data=PICTURE, mime_type="image/png")


RESULTS = {
    "test_simple_text": lambda: [text("This is a simple text response for testing.")],
    "test_image_content": lambda: [picture()],
    "test_audio_content": lambda: [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")],
    "test_embedded_resource": lambda: [resource("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": lambda: [
        text("Multiple content types test:"),
        picture(),
        resource("test://mixed-content-resource", '{"test":"data","value":123}'),
    ],
    "json_schema_2020_12_tool": lambda: [text("done")],
    "test_custom_header": lambda: [text("done")],
}


async def list_tools(_context, _params):
    tools = [
        types.Tool(name=name, description=f"The fixture {name}.", input_schema=NOTHING)
        for name in [*RESULTS, "test_error_handling", "test_tool_with_logging", "test_tool_with_progress"]
    ]
    for tool in tools:
        if tool.name == "json_schema_2020_12_tool":
            tool.input_schema = SCHEMA
        if tool.name == "test_custom_header":
            tool.input_schema = IN_HEADER
    return types.ListToolsResult(tools=tools)


async def call_tool(context, params):
    if params.name == "test_error_handling":
        said = [text("This tool intentionally returns an error for testing")]
        return types.CallToolResult(content=said, is_error=True)
    return types.CallToolResult(content=RESULTS.get(params.name, lambda: [text("done")])())


async def main():
    server = Server("fixture", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


anyio.run(main)
