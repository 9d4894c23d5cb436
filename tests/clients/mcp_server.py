"""A server of the Model Context Protocol by standard input and output, in the era of sessions: its tool `weather` tells how cold a city is."""

import json
import sys

TOOL = {
    "name": "weather",
    "description": "Tells how cold a city is.",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "annotations": {"readOnlyHint": True},
}
INFO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "weather", "version": "1"}}


def result(asked):
    match asked["method"]:
        case "initialize":
            return INFO
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            city = asked["params"]["arguments"]["city"]
            return {"content": [{"type": "text", "text": f"-12 degrees in {city}"}]}


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"], "result": result(asked)}
    if answer["result"] is None:
        answer = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}}
    print(json.dumps(answer), flush=True)
