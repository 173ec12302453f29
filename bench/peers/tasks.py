"""Django and Celery: a task for each webhook, published with confirms."""

import os

import django
from celery import Celery
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST
from kombu import Queue

settings.configure(
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="measured",
)
django.setup()

queue = os.environ["QUEUE"]
tasks = Celery("tasks", broker=os.environ["BROKER"])
tasks.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_default_queue=queue,
    task_queues=[Queue(queue, routing_key=queue, queue_arguments={"x-queue-type": "quorum"})],
    task_ignore_result=True,
)


@tasks.task
def route(body: str) -> None:
    """What a worker would do."""


@require_POST
def receive(request, source: str) -> JsonResponse:
    route.delay(request.body.decode())
    return JsonResponse({"received": True})


urlpatterns = [path("webhooks/<source>", receive)]
application = get_wsgi_application()
