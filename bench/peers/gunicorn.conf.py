import os

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = int(os.environ["PROCESSES"])
worker_class = "gthread"
threads = 16
keepalive = 75
backlog = 4096
control_socket_disable = True
loglevel = "warning"
