"""A local S3 server, for tests of the object store."""

import os
import uuid
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

_SAID = {
    "AWS_ACCESS_KEY_ID": "a key that no one knows",
    "AWS_SECRET_ACCESS_KEY": "and its secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class LocalStore:
    """A bucket of a server on this machine.

    url: for CHECKPOINT_STORE.
    """

    def __init__(self, server: ThreadedMotoServer, address: str) -> None:
        self._server = server
        self.bucket = f"checkpoints-{uuid.uuid4().hex[:8]}"
        self.url = f"s3://{self.bucket}/of/groundswell"
        self.client = boto3.Session().client("s3", endpoint_url=address)
        self.client.create_bucket(Bucket=self.bucket)

    def names(self) -> set[str]:
        """Return the hashes of the pieces that the bucket holds, in hex."""
        said = self.client.list_objects_v2(Bucket=self.bucket)
        return {each["Key"].rpartition("/")[2] for each in said.get("Contents", ())}

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def local_store():
    """Start a server, and let the environment lead to it as an operator's would."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    before = {name: os.environ.get(name) for name in (*_SAID, "AWS_ENDPOINT_URL")}
    os.environ.update(_SAID, AWS_ENDPOINT_URL=address)
    try:
        yield LocalStore(server, address)
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
