"""The end of a worker in the middle of a job, which no job can catch."""


class Killed(BaseException):
    """The worker was killed."""


def die(*_, **__):
    raise Killed
