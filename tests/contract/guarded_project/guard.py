"""Owns who may do what: each has what is theirs, and guests only look."""

from typing import Any

from langgraph_sdk import Auth

auth = Auth()
PEOPLE = ("ann", "ben", "guest")


@auth.authenticate
async def recognise(authorization: str | None) -> Auth.types.MinimalUserDict:
    name = (authorization or "").removeprefix("Bearer ")
    if name not in PEOPLE:
        raise Auth.exceptions.HTTPException(status_code=401, detail="Who are you?")
    return {"identity": name}


async def own(ctx: Auth.types.AuthContext, value: Any) -> Any:
    """Nobody sees what is not theirs; what they make is stamped."""
    if ctx.user.identity == "guest" and ctx.action not in ("read", "search"):
        return False
    if ctx.action in ("create", "create_run"):
        value.setdefault("metadata", {})["owner"] = ctx.user.identity
    return {"owner": ctx.user.identity}


auth.on.threads(own)
auth.on.assistants(own)
auth.on.crons(own)


@auth.on.store
async def own_items(ctx: Auth.types.AuthContext, value: Any) -> None:
    """Everybody has a part of the store to themselves; guests have none."""
    assert ctx.user.identity != "guest", "guests keep nothing"
    value["namespace"] = (ctx.user.identity, *(value["namespace"] or ()))
