"""What the generated shop is made of: the values of its categorical columns, and how often each is seen.

Names are invented or generic; a good part is not ASCII, because real logs are not.
"""

from __future__ import annotations

AGE_BANDS = {"under_18": 5, "18-24": 20, "25-34": 30, "35-44": 20, "45-54": 13, "55-64": 8, "65_plus": 4}
GENDERS = {"female": 52, "male": 45, "other": 3}
MEMBER_LEVELS = {0: 45, 1: 27, 2: 16, 3: 9, 4: 3}
DEVICES = {"android": 46, "ios": 34, "web": 12, "mini_program": 8}
CITIES = {
    "北京": 9, "上海": 9, "广州": 6, "深圳": 6, "成都": 5, "杭州": 5, "重庆": 4, "西安": 3, "台北": 3, "香港": 3,
    "東京": 5, "大阪": 3, "서울": 5, "부산": 2, "กรุงเทพฯ": 3, "Hà Nội": 2, "Singapore": 3, "मुंबई": 3,
    "Zürich": 2, "München": 2, "Köln": 1, "København": 1, "Malmö": 1, "Kraków": 1, "São Paulo": 3, "Bogotá": 1,
    "México": 2, "Москва": 3, "Київ": 1, "Αθήνα": 1, "İstanbul": 2, "القاهرة": 1,
}  # fmt: skip
CATEGORIES = {
    "phones": 10, "laptops": 7, "headphones": 6, "women's shoes": 9, "men's shoes": 7, "dresses": 9, "coats": 6,
    "skin care": 8, "make-up": 6, "kitchen": 7, "furniture": 4, "toys": 5, "books": 5, "sports": 5, "garden": 3,
    "caffè & tè": 3,
}  # fmt: skip
MEAN_PRICES = (420.0, 780.0, 95.0, 68.0, 74.0, 52.0, 120.0, 31.0, 18.0, 45.0, 260.0, 24.0, 14.0, 58.0, 33.0, 12.0)
"""Typical price of each category, in the order of CATEGORIES."""
BRANDS_PER_CATEGORY = 5
_BRANDS = """
    Norrsken 星辰 Lumière Voltaro Kestrel  Ørsund 青空 Bitwald Tornado Quarzo
    Klangfuß 声谷 Audeon Sonaré Murmur  Élan 花步 Marisol Petra Südwind
    Nordvik 行者 Calzado Brogan Stiefel  Rosée 云裳 Amapola Willow Señorita
    Frost 北风 Montaña Älvdal Regenzeit  Crème 雪肌 Aloé Purità Natür
    Rouge 胭脂 Coquelicot Bellezza Vivre  Küche 灶王 Sabor Fornello Røst
    Möbel 木语 Hölzern Casa Skär  Bärchen 童趣 Juguete Piñata Kubik
    Páginas 书香 Lesezeit Книга Folio  Läufer 飞人 Corredor Sprint Fjäll
    Blühen 绿园 Jardín Prato Växt  Aroma 茶道 Tè&Co Mañana Røster
"""
BRANDS = tuple(_BRANDS.split())
"""BRANDS_PER_CATEGORY names for each category, in the order of CATEGORIES."""
TOKENS_PER_CATEGORY = 6
_QUERY_TOKENS = """
    phone 手机 telefon 5g スマホ smartphone  laptop 笔记本 ordinateur notebook ノートパソコン ultrabook
    headphones 耳机 écouteurs bluetooth イヤホン kopfhörer  heels 女鞋 zapatos sandals туфли ballerinas
    sneakers 跑鞋 кроссовки boots schuhe 运动鞋  dress 连衣裙 robe kleid ワンピース vestido
    coat 外套 manteau mantel пальто 羽绒服  cream 面霜 crème serum スキンケア гидрогель
    lipstick 口红 mascara помада 化粧 fard  pan 锅 küche couteau сковорода nonstick
    sofa 沙发 regal étagère стол meuble  toy 玩具 lego puzzle おもちゃ игрушка
    novel 小说 roman книга 本 manga  yoga 健身 fußball tennis спорт vélo
    seeds 花园 jardin rasen 植物 лейка  coffee 咖啡 thé espresso чай café
"""
QUERY_TOKENS = tuple(_QUERY_TOKENS.split())
"""TOKENS_PER_CATEGORY search words for each category, in the order of CATEGORIES."""
CONTEXT = {
    "page": {"home": 45, "search": 25, "detail": 20, "cart": 10},
    "network": {"wifi": 55, "5g": 25, "4g": 18, "3g": 2},
    "campaign": {"双十一": 40, "black_friday": 35, "été": 25},
}
"""Keys of the column `context`, with the values of each; `campaign` is there in some rows only."""
HOUR_SHARES_WEEKDAY = (14, 8, 5, 4, 4, 7, 15, 28, 38, 42, 45, 50, 62, 54, 44, 42, 43, 48, 58, 72, 88, 96, 77, 36)
HOUR_SHARES_WEEKEND = (24, 15, 9, 6, 5, 6, 10, 18, 32, 48, 60, 66, 68, 66, 64, 62, 60, 62, 66, 74, 82, 86, 70, 40)
"""How a day's rows spread over its hours, relative."""
WEEKDAY_VOLUMES = (0.94, 0.92, 0.93, 0.96, 1.00, 1.12, 1.13)
"""A day's rows as a multiple of rows_per_day, Monday first; a week has seven times rows_per_day."""
