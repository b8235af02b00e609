"""Turn the settings into the configuration of a new Pipeline.

A Pipeline keeps the configuration it began with, and each checkpoint has it. Changed settings take effect with
`manage.py model rebuild`.
"""

from django.conf import settings

from recommender import ids
from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.pipeline import Config
from recommender.core.screen import ScreenConfig
from recommender.core.trust import TrustConfig


def configured() -> Config:
    """Return the configuration of a new Pipeline: the settings, and a secret.

    The secret keys its hashes.
    """
    return Config(
        half_lives_s=tuple(settings.HALF_LIVES_S),
        horizon_s=settings.HORIZON_S,
        actor_budget=settings.ACTOR_BUDGET,
        lateness_s=settings.LATENESS_S,
        canary_share=settings.CANARY_SHARE,
        affinity=AffinityConfig(half_life_s=settings.LINK_HALF_LIFE_S),
        personal_share=settings.PERSONAL_SHARE,
        trust=TrustConfig(floor=settings.TRUST_FLOOR),
        screen=ScreenConfig(is_on=settings.SCREEN),
        secret=ids.secret(),
    )
