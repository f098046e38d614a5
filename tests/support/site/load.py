"""Sends requests at a steady rate, whether or not earlier ones were answered, until /run/enough is there; every so
many-th takes half a second. Then prints when each began, its status, the release that answered, and when it ended.

    load.py RATE SLOW PORT
"""
import asyncio, json, os, sys, time

async def one(port, path, told):
    begun = time.time()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        head, body = answer.split(b"\r\n\r\n", 1)
        told.append([begun, head.split(b" ", 2)[1].decode(), json.loads(body)["release"], time.time()])
    except Exception as error:
        told.append([begun, repr(error), "", time.time()])

async def main(rate, slow, port):
    told, tasks, began, number = [], set(), time.monotonic(), 0
    while not os.path.exists("/run/enough"):
        number += 1
        # After a standstill not all at once: that would only ask how many connections nginx takes.
        if len(tasks) < 60:
            task = asyncio.create_task(one(port, "/?slow" if number % slow == 0 else "/", told))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
    await asyncio.gather(*tasks)
    print(json.dumps(told))

asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
