"""What the page is told equals what the library says for the same seed."""

import base64
import io

import jax
import msgspec
import numpy as np
import pytest
from PIL import Image
from visits import SHAPE, Page, bits, connect, draw, explain

import cawe_jax as cawe
from cawe_jax import distortions, methods, perturbations, representations
from cawe_jax.engine.session import Session
from cawe_jax.files import images
from cawe_jax.methods import names
from cawe_jax.numerics.streams import Stream
from cawe_jax.playground import catalogue, messages

# Numbers cross as JSON's shortest decimals of float64, which are exact; the library's
# own run may add up in another order.
CLOSE = {"rtol": 1e-5}


def picture(data_url):
  data = base64.b64decode(data_url.removeprefix("data:image/webp;base64,"))
  return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255


def librarys_estimate(settings, image, mask, method, seed, draws):
  """By the objective's own loop, which the playground does not use."""
  session = Session(
    settings.classifier,
    image[None],
    method,
    key=jax.random.key(seed),
    targets=None,
    image_ids=None,
    rows=None,
  )
  masks = tuple(leaf[None] for leaf in mask)
  return session.estimate(masks, Stream.REPORT, draws)


@pytest.mark.parametrize(
  ("filling", "perturbation"),
  [
    ("adaptive-gaussian", perturbations.adaptive_gaussian()),
    ("mean", perturbations.mean()),
    pytest.param("blur", perturbations.blur(), marks=pytest.mark.slow),
    pytest.param("infill", perturbations.infill(), marks=pytest.mark.slow),
  ],
)
def test_a_prediction_is_the_librarys(page, settings, filling, perturbation):
  keep = np.zeros(SHAPE, bool)
  keep[3:20, 5:31] = True
  (*_, found) = page.ask(draw(mask=bits(keep), filling=filling, draws=12))
  image = settings.samples["first"]
  method = methods.pixel_rde(perturbation=perturbation, distortion=distortions.l2)
  count = 12 if perturbation.is_random else 1
  mask = (keep[None, :, :, None].astype(np.float32),)
  expected = librarys_estimate(settings, image, mask, method, 3, count)
  np.testing.assert_allclose(found["distortion"], expected.distortion[0], **CLOSE)
  np.testing.assert_allclose(found["target"]["after"], expected.score[0], **CLOSE)
  assert found["type"] == "prediction"
  assert (found["budget"], found["num_draws"]) == (17 * 26, count)
  assert found["budget_share"] == 17 * 26 / 1024
  assert len(found["draws"]) == min(count, 8)
  # The square root of float32 rounding, where all draws are nearly equal.
  spread = max(float(expected.distortion_square[0] - expected.distortion[0] ** 2), 0)
  error = (spread / max(count - 1, 1)) ** 0.5
  np.testing.assert_allclose(found["standard_error"], error, rtol=1e-2, atol=1e-5)
  clean = np.asarray(jax.nn.softmax(settings.classifier(image[None]))[0])
  assert [c["index"] for c in found["before"]] == np.argsort(-clean).tolist()
  np.testing.assert_allclose(
    [c["probability"] for c in found["before"]], np.sort(clean)[::-1], **CLOSE
  )
  # Shown is what the network saw: the kept part of every draw, up to WebP's losses,
  # which are large for colours, whose resolution it halves.
  shown = np.stack([picture(url) for url in found["draws"]]).mean(-1)
  assert abs(shown[:, keep] - image.mean(-1)[keep]).mean() < 0.05


HAAR = representations.wavelet("haar", levels=2)


@pytest.mark.parametrize(
  ("asked", "method"),
  [
    ({"method": "pixel-rde"}, cawe.pixel_rde(2.0)),
    pytest.param(
      {"method": "cartoonx", "wavelet": "haar", "levels": 2, "perturbation": "zeros"},
      cawe.cartoonx(2.0, representation=HAAR, perturbation=perturbations.zeros()),
      marks=pytest.mark.slow,
    ),
    pytest.param(
      {"method": "pixel-rde", "distortion": "kl", "budget": 99, "seed": 5},
      cawe.pixel_rde(2.0, distortion=distortions.kl),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_an_explanation_is_the_librarys(page, settings, asked, method):
  asked = explain(lagrange_multiplier=2.0) | asked
  (*before, found) = page.ask(asked)
  method = method._replace(recipe=settings.recipe)
  image = settings.samples["first"]
  key = jax.random.key(asked.get("seed", 0))
  if "budget" in asked:
    budget = asked["budget"]
    expected = cawe.explain_budget(settings.classifier, image, method, budget, key=key)
  else:
    expected = cawe.explain(settings.classifier, image, method, key=key)
  for field in ("rate", "distortion", "probability", "retained_probability"):
    np.testing.assert_allclose(found[field], getattr(expected, field), **CLOSE)
  np.testing.assert_allclose(
    found["standard_error"], expected.distortion_standard_error, **CLOSE
  )
  assert found["target"]["index"] == expected.target
  assert (found["cached"], found["notice"]) == (False, None)
  # A picture loses some of its 255 levels where it is compressed.
  np.testing.assert_allclose(
    picture(found["picture"]).mean(-1), expected.image[..., 0], atol=0.1
  )
  assert before[0] == {"type": "queued", "id": 1, "position": 0}
  assert before[-1]["type"] == "progress"
  assert before[-1]["step"] <= before[-1]["num_steps"] == settings.recipe.num_steps
  (again,) = page.ask(asked | {"id": 2})
  assert again == found | {"id": 2, "cached": True}
  # A multiplier of its own is another explanation.
  *_, other = page.ask(asked | {"id": 3, "lagrange_multiplier": 2.5})
  assert not other["cached"]


def test_files_can_be_downloaded(page, client, tmp_path):
  (*_, found) = page.ask(explain(lagrange_multiplier=3.0))
  archive = client.get(f"/results/{found['result']}.npz")
  assert archive.headers["content-disposition"].startswith("attachment")
  path = tmp_path / "explanation.npz"
  path.write_bytes(archive.content)
  np.testing.assert_allclose(cawe.load(path).rate, found["rate"], rtol=1e-6)
  metadata = cawe.load_metadata(path)
  assert metadata["method"]["lagrange_multiplier"] == 3.0
  assert metadata["image"] == "first"
  figure = client.get(f"/results/{found['result']}.png")
  assert Image.open(io.BytesIO(figure.content)).format == "PNG"
  assert client.get(f"/results/{found['result']}.json").status_code == 404
  assert client.get("/results/00.npz").status_code == 404


def test_a_class_that_is_not_predicted_is_maximised_and_said(page, settings):
  target = int(np.argmin(settings.classifier(settings.samples["first"][None])))
  (*_, found) = page.ask(explain(target=target))
  assert found["target"]["index"] == target
  assert "maximises" in found["notice"]
  predicted = int(np.argmax(settings.classifier(settings.samples["first"][None])))
  (*_, found) = page.ask(explain(target=predicted))
  assert found["notice"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
  ("method", "unit"),
  [("pixel-rde", "pixels"), ("cartoonx", "wavelet coefficients")],
)
def test_the_machines_mask_has_the_budget(page, settings, method, unit):
  asked = draw(5, type="machine_mask", method=method, budget=40)
  del asked["mask"]
  (*_, found) = page.ask(asked)
  assert (found["type"], found["unit"], found["budget"]) == ("machine_mask", unit, 40)
  make = {"pixel-rde": cawe.pixel_rde, "cartoonx": cawe.cartoonx}[method]
  method = make(distortion=distortions.l2, recipe=settings.recipe)
  if unit != "pixels":
    # A small image allows less than five levels.
    transform = representations.wavelet("db3", levels=2)
    method = method._replace(representation=transform)
  image = settings.samples["first"]
  key = jax.random.fold_in(jax.random.key(3), 1)
  best = cawe.explain_budget(settings.classifier, image, method, 40, key=key)
  expected = librarys_estimate(settings, image, best.mask, method, 3, 8)
  np.testing.assert_allclose(found["distortion"], expected.distortion[0], **CLOSE)
  # Better than as many pixels at random.
  keep = np.zeros(1024, bool)
  keep[np.random.default_rng(0).permutation(1024)[:40]] = True
  (*_, chance) = page.ask(draw(6, mask=bits(keep.reshape(SHAPE))))
  assert found["distortion"] < chance["distortion"]


def test_an_upload_is_an_image_like_any_other(page, client, settings):
  file = io.BytesIO()
  levels = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
  Image.fromarray(levels).save(file, "PNG")
  answer = client.post("/uploads", content=file.getvalue())
  assert answer.status_code == 200
  found = answer.json()
  image = images.prepare_image(levels, SHAPE)
  p = np.asarray(jax.nn.softmax(settings.classifier(image[None]))[0])
  np.testing.assert_allclose(found["probability"], p.max(), rtol=1e-5)
  assert found["class"] == settings.classifier.class_name(int(p.argmax()))
  served = Image.open(io.BytesIO(client.get(found["url"]).content))
  assert served.size == SHAPE
  (*_, drawn) = page.ask(draw(image={"upload": found["upload"]}))
  np.testing.assert_allclose(drawn["target"]["before"], p.max(), rtol=1e-5)
  # 128 random bits, in hexadecimal.
  assert len(found["upload"]) == 32
  assert client.post("/uploads", content=file.getvalue()).json()["upload"] not in (
    found["upload"],
    "",
  )


def test_a_signal_is_answered(page):
  (found,) = page.ask({"type": "signal", "id": 4, "name": "el-nino"})
  assert (found["type"], found["id"]) == ("signal", 4)


REFUSED = {
  "sample 'other' is unknown; allowed: ": draw(image={"sample": "other"}),
  "image must have a sample or an upload": draw(image={}),
  "upload is not kept any more": draw(image={"upload": "0" * 32}),
  "mask is not base64": draw(mask="*"),
  "mask has 2 bytes; an image of 32 x 32 pixels needs 128": draw(mask="AAA="),
  "filling 'constant' is unknown; allowed: ": draw(filling="constant"),
  "draws is 65; allowed is 1 to 64": draw(draws=65),
  "draws is 0": draw(draws=0),
  "seed is -1; allowed is 0 to 4294967295": draw(seed=-1),
  "method 'lime' is unknown; allowed: ": explain(method="lime"),
  "lagrange_multiplier is 0.0; allowed is 0.1 to 10000": explain(lagrange_multiplier=0),
  "wavelet 'db38' is unknown; allowed: ": explain(method="cartoonx", wavelet="db38"),
  "levels is 9; allowed is 1 to 2": explain(method="cartoonx", levels=9),
  "perturbation 'noise' is unknown; allowed: ": explain(perturbation="noise"),
  "distortion 'l1' is unknown; allowed: ": explain(distortion="l1"),
  "target is 5; allowed is 0 to 4": explain(target=5),
  "target is -1": explain(target=-1),
  "budget is 1024; allowed is 1 to 1023": explain(budget=1024),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_refused_value_is_one_line_and_the_connection_stays(page, message):
  (error,) = page.ask(REFUSED[message])
  assert error["type"] == "error"
  assert error["message"].startswith(message)
  assert "\n" not in error["message"]
  assert page.ask(draw(2))[-1]["type"] == "prediction"


def test_the_catalogue_names_what_there_is(client):
  catalogue = client.get("/catalogue.json").json()
  assert catalogue["image_size"] == [32, 32]
  assert [s["name"] for s in catalogue["samples"]] == ["first", "second"]
  assert (
    Image.open(io.BytesIO(client.get(catalogue["samples"][0]["url"]).content)).size
    == SHAPE
  )
  assert catalogue["defaults"]["distortion"] == "automatic"
  for name in ("perturbations", "distortions", "wavelets", "methods"):
    assert all(entry["title"] for entry in catalogue[name])
  tables = {
    "perturbations": names.PERTURBATIONS,
    "distortions": names.DISTORTIONS,
    "methods": names.METHODS,
  }
  for kind, table in tables.items():
    offered = [entry["name"] for entry in catalogue[kind]]
    assert offered == [name for name, row in table.items() if row.on_page]
  # The figure has room for two.
  assert len(catalogue["methods"]) == 2


def test_everything_in_the_catalogue_makes_a_method_that_fits(client, settings):
  offered = client.get("/catalogue.json").json()
  wishes = [{"method": m["name"]} for m in offered["methods"]]
  wishes += [{"perturbation": p["name"]} for p in offered["perturbations"]]
  wishes += [{"distortion": d["name"]} for d in offered["distortions"]]
  wishes += [
    {"method": "cartoonx", "wavelet": w["name"], "levels": w["max_levels"]}
    for w in offered["wavelets"]
  ]
  made = []
  for wish in wishes:
    request = msgspec.convert(explain() | wish, messages.Explain)
    method = catalogue.make_method(catalogue.complete(request, settings), settings)
    # Traces all parts as an explanation does, and compiles nothing.
    method.bind((*SHAPE, 3), len(offered["classes"]), settings.classifier.output)
    made.append(str(method.settings()))
  # Only what is the default of its kind is the same method again.
  assert len(made) - len(set(made)) <= 3


def test_cancelling_stops_what_runs_and_what_waits(client, settings):
  with connect(client) as websocket:
    page = Page(websocket)
    websocket.send_json(explain(1, seed=11))
    websocket.send_json(explain(2, seed=12))
    websocket.send_json({"type": "cancel", "id": 2})
    websocket.send_json({"type": "cancel", "id": 1})
    websocket.send_json({"type": "cancel", "id": 77})
    seen = []
    while len([m for m in seen if m["type"] == "cancelled"]) < 3:
      seen.append(websocket.receive_json())
    kinds = {(m["type"], m["id"]) for m in seen}
    assert {("cancelled", 1), ("cancelled", 2), ("cancelled", 77)} <= kinds
    assert ("explanation", 2) not in kinds
    # Nothing more is heard of them.
    assert page.ask(draw(3))[-1]["type"] == "prediction"
