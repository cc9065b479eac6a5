"""A session that is killed: `python script_killed_session.py FOLDER URL RUN AT`. Approvals are given at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def main(folder: Path, url: str, session: str, delay_s: float) -> None:
    sys.path.insert(0, str(folder))
    from langchain_anthropic import ChatAnthropic

    from agentkit.agent.approvals import Approval
    from agentkit.agent.session import Options, PlannerSession
    from agentkit.laboratory import Lab
    from agentkit.study import ApprovalSection

    def approve(request):
        threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return Approval("approve")

    with Lab(folder / f"{session}.db", workers="inline", modules=["tiny_plugin"]) as lab:
        campaign = lab.campaign("tiny", max_hypotheses=10, seed=1)
        model = ChatAnthropic(model="claude-a", base_url=url, api_key="none", max_tokens=1000)
        options = Options(policy=ApprovalSection(explore="ask"), approve=approve)
        PlannerSession(model, lab.toolbox(campaign, session=session), "You plan.", options).send("go")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]))
