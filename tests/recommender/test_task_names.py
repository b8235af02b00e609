"""During an upgrade, nodes of two versions send each other tasks."""

import inspect

from celery import current_app

import monitoring.tasks  # noqa: F401  registers its tasks
import recommender.tasks  # noqa: F401

# As 0.1.0 sent them. A name may be added, and an argument with a default. None may go.
OF_0_1_0 = {
    "recommender.learn": (0,),
    "recommender.revert": (),
    "recommender.erase": (),
    "recommender.keep_house": (),
    "monitoring.deliver": (),
    "monitoring.gather": (),
    "monitoring.follow_up": (0,),
    "monitoring.retrain": (),
    "monitoring.keep_house": (),
}


def test_every_task_of_an_earlier_version_is_known_with_its_arguments():
    for name, arguments in OF_0_1_0.items():
        inspect.signature(current_app.tasks[name].run).bind(*arguments)


def test_no_task_needs_an_argument_that_an_earlier_version_does_not_send():
    own = {name: task for name, task in current_app.tasks.items() if name.partition(".")[0] != "celery"}
    assert own.keys() >= OF_0_1_0.keys()
    for name, task in own.items():
        given = len(OF_0_1_0.get(name, ()))
        needed = [each for each in inspect.signature(task.run).parameters.values() if each.default is each.empty]
        assert len(needed) <= given, name
