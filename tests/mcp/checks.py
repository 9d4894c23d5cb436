"""The official package for Python as a client of the gateway, in both eras of the protocol.

usage: checks.py URL KEY OTHER_KEY FOLDER
"""

import asyncio
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL, KEY, OTHER_KEY, FOLDER = sys.argv[1:]


def client(key, mode):
    http = httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60)
    return Client(streamable_http_client(URL, http_client=http), mode=mode)


async def names(connection):
    listed = await connection.list_tools()
    return {tool.name: tool for tool in listed.tools}


async def text(connection, name, arguments):
    result = await connection.call_tool(name, arguments)
    assert not result.is_error, result
    return result.content[0].text


async def check(mode):
    async with client(KEY, mode) as connection:
        tools = await names(connection)
        assert {"files__read_text_file", "time__get_current_time", "everything__echo", "kebne__state"} <= tools.keys(), tools.keys()
        assert tools["files__read_text_file"].annotations.read_only_hint
        assert "path" in tools["files__read_text_file"].input_schema["properties"]
        assert not any(name.startswith("everything__") and name[12:] not in ("echo", "get-sum") for name in tools)
        assert await text(connection, "files__read_text_file", {"path": f"{FOLDER}/a.txt"}) == "hello from a file"
        assert "Europe/Stockholm" in await text(connection, "time__get_current_time", {"timezone": "Europe/Stockholm"})
        assert "moin" in await text(connection, "everything__echo", {"message": "moin"})
        assert "5" in await text(connection, "everything__get-sum", {"a": 2, "b": 3})
        # What a tool reports of itself is its result.
        outside = await connection.call_tool("files__read_text_file", {"path": "/etc/passwd"})
        assert outside.is_error, outside
        many = [text(connection, "everything__echo", {"message": str(number)}) for number in range(40)]
        answers = await asyncio.gather(*many)
        assert all(str(number) in answer for number, answer in enumerate(answers))
        state = await connection.read_resource("kebne://state")
        assert "lanes" in state.contents[0].text
        try:
            await connection.call_tool("files__nothing", {})
        except MCPError as error:
            assert error.code == -32602, error
        else:
            raise AssertionError("an unknown tool was called")
    async with client(OTHER_KEY, mode) as connection:
        tools = await names(connection)
        assert "files__read_text_file" in tools and not any(name.startswith(("time", "everything")) for name in tools)
    print(f"python, {mode}: all checks passed")


for mode in ("legacy", "2026-07-28", "auto"):
    asyncio.run(check(mode))
