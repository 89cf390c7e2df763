"""The page in a real browser, against a running agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.model import Table
from tests.agent.status.test_listener import HOSTILE, STATUS_TOKEN, configuration, running
from tests.faults.chromium import PROGRAM, browsing
from tests.faults.modbus import FaultServer
from tests.support.site import Endpoint, sdm630

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium here; apt-get install chromium")

TEXT = "document.body.innerText"
ENTER = "document.getElementById('token').value = {!r}; document.querySelector('#login button').click()"


async def test_the_page(tmp_path: Path) -> None:
    with Endpoint() as endpoint:
        async with FaultServer({(1, Table.INPUT): sdm630(-1500.0, 10, 20)}) as meter, FaultServer({}) as silent:
            devices = [("meter-1", "grid", meter.link().port), (HOSTILE, "solar", silent.link().port)]
            config = configuration(tmp_path, endpoint.url, devices, token=STATUS_TOKEN)
            async with browsing(tmp_path / "profile") as tab:
                async with running(config) as app:
                    assert app.status is not None
                    address = f"http://127.0.0.1:{app.status.port}/"
                    await tab.call("Page.navigate", url=address)

                    await tab.until("document.getElementById('login')?.hidden === false")
                    assert "SITE_1" not in await tab.eval(TEXT)
                    await tab.eval(ENTER.format("wrong"))
                    await tab.until(f"{TEXT}.includes('not accepted')")
                    await tab.eval(ENTER.format(STATUS_TOKEN))

                    await tab.until(f"{TEXT}.includes('Pushing') && {TEXT}.includes('1.50 kW')")
                    await tab.until(f"{TEXT}.includes('no answer for')")
                    text = await tab.eval(TEXT)
                    assert text.startswith("SITE_1")
                    assert HOSTILE in text
                    assert "exporting" in text
                    assert "1 of 2 answer" in text
                    assert "delivered" in text
                    assert await tab.eval("location.href") == address
                    assert await tab.eval("document.cookie") == ""

                    meter.registers[(1, Table.INPUT)] = sdm630(2500.0, 10, 20)
                    await tab.until(f"{TEXT}.includes('2.50 kW') && {TEXT}.includes('importing')")

                    await tab.call(
                        "Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True
                    )
                    assert await tab.eval("document.scrollingElement.scrollWidth") == 360
                    back = "getComputedStyle(document.body).backgroundColor"
                    colours = []
                    for scheme in ("light", "dark"):
                        features = [{"name": "prefers-color-scheme", "value": scheme}]
                        await tab.call("Emulation.setEmulatedMedia", features=features)
                        colours.append(await tab.eval(back))
                    assert colours == ["rgb(244, 245, 242)", "rgb(18, 22, 20)"]
                    complaints = [each for each in tab.complaints if "401" not in each]
                await tab.until(f"{TEXT}.includes('The agent has not answered since')")
    assert complaints == []
