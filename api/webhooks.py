"""Owns the routes that tell what became of webhooks, and start them anew."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from threadline.api.dependencies import EngineDep, PageLimit, PageOffset, WebhookId
from threadline.api.responses import JsonResponse, page
from threadline.api.routing import DirectRoute
from threadline.api.views import delivery_view
from threadline.runs.deliveries import DeliveryStatus

router = APIRouter(prefix="/webhooks/deliveries", tags=["Webhooks"], route_class=DirectRoute)


@router.get("", summary="List deliveries of webhooks")
async def list_deliveries(
    engine: EngineDep,
    status: Annotated[
        DeliveryStatus | None, Query(description="Those that are owed, were taken, or were given up.")
    ] = None,
    run_id: Annotated[UUID | None, Query(description="Only that of this run.")] = None,
    thread_id: Annotated[UUID | None, Query(description="Only those of this thread's runs.")] = None,
    limit: PageLimit = 10,
    offset: PageOffset = 0,
) -> Response:
    """Answer with a page of the deliveries that match, newest first, each with the outcome of every attempt."""
    found = await engine.webhooks.deliveries.search(
        status=status, run_id=run_id, thread_id=thread_id, limit=limit + 1, offset=offset
    )
    return page([delivery_view(delivery) for delivery in found], limit=limit, offset=offset)


@router.get("/{webhook_id}", summary="Get a delivery of a webhook")
async def get_delivery(webhook_id: WebhookId, engine: EngineDep) -> Response:
    return JsonResponse(delivery_view(await engine.webhooks.deliveries.get(webhook_id)))


@router.post("/{webhook_id}/redeliver", summary="Deliver a webhook again", status_code=202)
async def redeliver(webhook_id: WebhookId, engine: EngineDep) -> Response:
    """Start the delivery anew, with the same id and all its attempts before it, whatever became of it."""
    return JsonResponse(delivery_view(await engine.webhooks.deliveries.redeliver(webhook_id)), 202)
