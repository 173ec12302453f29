"""FastAPI and aio-pika, with publisher confirms."""

import os
from contextlib import asynccontextmanager

import aio_pika
import uvicorn
from fastapi import FastAPI, Request

QUEUE = os.environ["QUEUE"]


@asynccontextmanager
async def lifespan(app: FastAPI):
    connection = await aio_pika.connect_robust(os.environ["BROKER"])
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        app.state.exchange = channel.default_exchange
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/{source}")
async def receive(source: str, request: Request):
    message = aio_pika.Message(await request.body(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await app.state.exchange.publish(message, routing_key=QUEUE)
    return {"received": True}


if __name__ == "__main__":
    port, processes = int(os.environ["PORT"]), int(os.environ["PROCESSES"])
    uvicorn.run("aio:app", port=port, workers=processes, access_log=False, log_level="warning", backlog=4096)
