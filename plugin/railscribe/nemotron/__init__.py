"""The contract of Nemotron 3.5 Content Safety, as pure functions: what goes in and what comes out.

Nothing here reads a file, a clock or a socket. The facts behind each rule are in docs/contract.md.
"""

from railscribe.nemotron.neutralise import neutralise
from railscribe.nemotron.reply import parse_reply
from railscribe.nemotron.request import build_request, chat_messages, template_kwargs

__all__ = ["build_request", "chat_messages", "neutralise", "parse_reply", "template_kwargs"]
