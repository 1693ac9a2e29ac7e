"""Write server/openapi.json, the description of the HTTP API that clients are written against, anew from the code."""

from pathlib import Path

from milepost.server.app import openapi_text

if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "server" / "openapi.json"
    target.write_text(openapi_text(), encoding="utf-8")
