import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hrnet_deploy.engines.tensorrt.slot_pool import SlotPool
from hrnet_deploy.errors import DeviceError, UsageError


class Lane:
    def __init__(self):
        self.closed = 0
        self.users = 0

    def close(self):
        self.closed += 1


class Factory:
    def __init__(self, fail_after=99):
        self.made = []
        self.fail_after = fail_after

    def __call__(self):
        if len(self.made) >= self.fail_after:
            raise DeviceError("allocation of 1.0 GiB must fit the GPU")
        self.made.append(Lane())
        return self.made[-1]


def test_one_thread_keeps_getting_the_same_slot():
    factory = Factory()
    pool = SlotPool(factory, 4, "net")
    for _ in range(5):
        with pool.lease() as slot:
            assert slot is factory.made[0]
    assert len(factory.made) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_many_threads_never_share_a_slot_and_never_exceed_the_limit(limit):
    factory = Factory()
    pool = SlotPool(factory, limit, "net")

    def work(_):
        with pool.lease() as slot:
            slot.users += 1
            assert slot.users == 1
            time.sleep(0.001)
            slot.users -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(100)))
    assert 1 <= len(factory.made) <= limit
    pool.close()
    assert all(slot.closed == 1 for slot in factory.made)


def test_what_cannot_be_made_at_all_is_known_at_once():
    with pytest.raises(DeviceError, match="allocation of"):
        SlotPool(Factory(0), 2, "net")


def test_when_one_more_does_not_fit_the_others_have_to_do(caplog):
    factory = Factory(fail_after=1)
    pool = SlotPool(factory, 4, "net.engine")
    with ThreadPoolExecutor(1) as other, pool.lease() as mine:
        waiting = other.submit(lambda: pool.lease().__enter__())
        deadline = time.monotonic() + 5
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not waiting.done()
        mine.users = 7
        pool._return(mine)
        assert waiting.result(5) is mine
    assert [record.message for record in caplog.records] == [
        "net.engine runs 1 at a time, because one more does not fit: allocation of 1.0 GiB must fit the GPU"
    ]


@pytest.mark.parametrize("error", [DeviceError("lost"), KeyboardInterrupt()])
def test_a_slot_that_failed_is_replaced(error):
    factory = Factory()
    pool = SlotPool(factory, 1, "net")
    with pytest.raises(type(error)), pool.lease():
        raise error
    assert factory.made[0].closed == 1
    with pool.lease() as slot:
        assert slot is factory.made[1]


def test_a_slot_refused_its_input_lives_on():
    factory = Factory()
    pool = SlotPool(factory, 1, "net")
    with pytest.raises(UsageError), pool.lease():
        raise UsageError("shape")
    with pool.lease() as slot:
        assert slot is factory.made[0]


def test_a_slot_that_cannot_be_replaced_says_why_and_can_be_tried_again():
    factory = Factory()
    pool = SlotPool(factory, 1, "net")
    with pytest.raises(DeviceError, match="lost"), pool.lease():
        raise DeviceError("lost")
    factory.fail_after = 0
    with pytest.raises(DeviceError, match="allocation of"), pool.lease():
        pass
    factory.fail_after = 99
    with pool.lease() as slot:
        assert slot.closed == 0


def test_closing_wakes_those_who_wait_and_takes_lent_slots_when_they_come_back():
    factory = Factory()
    pool = SlotPool(factory, 1, "net")
    failures = []

    def work():
        try:
            with pool.lease():
                pass
        except DeviceError as error:
            failures.append(str(error))

    with pool.lease() as slot:
        thread = threading.Thread(target=work)
        thread.start()
        pool.close()
        thread.join(5)
        assert slot.closed == 0
    assert failures == ["net must be open to run, got a closed engine. Open it again."]
    assert slot.closed == 1
    pool.close()
    assert slot.closed == 1


def test_closing_closes_all_even_if_one_fails():
    factory = Factory()
    pool = SlotPool(factory, 2, "net")
    with pool.lease(), pool.lease():
        pass
    factory.made[0].close = factory.made[1].close = failing = Failing()
    with pytest.raises(DeviceError):
        pool.close()
    assert failing.count == 2


class Failing:
    count = 0

    def __call__(self):
        self.count += 1
        raise DeviceError("lost")
