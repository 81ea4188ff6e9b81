"""Update a model by a running server, which completes configurations and makes ensembles decoupled."""

from __future__ import annotations

from dataclasses import replace

from tritonclient.grpc import model_config_pb2

from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.server import client
from envbuilder.verification.server.process import RunningServer

NO_INPUTS = "not known: no request can be sent, because its configuration has no inputs on the server either"


def as_served(running: RunningServer, deployed: DeployedModel) -> DeployedModel:
    """Return *deployed* updated by the server's configuration: whether it is decoupled, and its requests.

    Raises:
        VerifyError: the user's inputs do not fit the configuration.
    """
    config = client.config_of(running, deployed) if deployed.own else None
    if config is None:
        return deployed
    questions = deployed.questions
    if questions.cases and not deployed.incomplete:
        mine = model_config_pb2.ModelConfig()
        mine.CopyFrom(deployed.config)
        mine.model_transaction_policy.decoupled = config.model_transaction_policy.decoupled
        return replace(deployed, config=mine)
    if not questions.cases and config.input and deployed.read_questions is not None:
        questions = deployed.read_questions(config)
    return replace(deployed, config=config, questions=questions)
